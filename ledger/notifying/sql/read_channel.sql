-- Up to where a channel was told everything.
-- $1 channel text
SELECT position FROM notice_channels WHERE channel = $1
