-- Every kind of event, in every version, that some release has noted it knows.
SELECT topic, class_version FROM event_kinds
