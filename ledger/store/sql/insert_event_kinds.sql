-- Notes the kinds that a release knows; whoever noted one first stays.
-- $1 topics text[]   $2 class_versions integer[]   $3 release text
INSERT INTO event_kinds (topic, class_version, release)
SELECT topic, class_version, $3
FROM unnest($1::text[], $2::integer[]) AS known (topic, class_version)
ON CONFLICT DO NOTHING
