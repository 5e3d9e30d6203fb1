-- The texts of a person, found without reading the whole ledger: for whoever asks for all
-- that is known of them, and for what a legal hold keeps. A text's stream has an id of its
-- own; whose it is stands in its first event, at a fixed place, since all that comes before
-- has always the same length.
CREATE INDEX ledger_events_texts_idx ON ledger_events (substring(state FROM 214 FOR 32))
    WHERE originator_version = 1 AND topic IN (
        'ledger.domain.events:MessageReceived',
        'ledger.domain.events:MessageRequested',
        'ledger.domain.events:MessageSent');
