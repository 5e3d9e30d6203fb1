-- How far each channel of notices has come with the ledger. A channel has a row from its
-- first start on, which begins at the ledger's end: what was said before is not told.
CREATE TABLE notice_channels (
    channel text NOT NULL,
    position bigint NOT NULL,
    saved_at timestamptz NOT NULL,
    failing_since timestamptz,
    failed_reason text,
    CONSTRAINT notice_channels_pkey PRIMARY KEY (channel)
);
