-- Who may be under a legal hold is found without reading the whole ledger: retention asks
-- twice, the second time while nobody else can append.
CREATE INDEX ledger_events_holds_idx ON ledger_events (originator_id, notification_id)
    WHERE topic IN ('ledger.domain.events:HoldPlaced', 'ledger.domain.events:HoldReleased');
