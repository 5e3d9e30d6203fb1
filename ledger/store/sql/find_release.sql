-- The first release that knew a kind of event in a version, if one has noted it.
-- $1 topic text   $2 class version integer
SELECT release FROM event_kinds WHERE topic = $1 AND class_version = $2
