-- Renewals come by the million in one minute: what each costs the database is what this is about.

-- Renewals have no idempotency key, so they pay nothing for it. The name stays: it tells of a key
-- that was used before.
ALTER TABLE entries DROP CONSTRAINT entries_idempotency_key;
CREATE UNIQUE INDEX entries_idempotency_key ON entries (pool_id, idempotency_key)
WHERE idempotency_key IS NOT NULL;

-- A pool after renewals and debits only: what they can change.
CREATE TYPE pool_cycle_input AS (
    pool_id uuid,
    read_seq bigint,
    seq bigint,
    hash bytea,
    last_at timestamptz,
    monthly bigint,
    addon bigint,
    held_monthly bigint,
    held_ended bigint,
    overdraft bigint,
    consumed bigint,
    lapsed bigint,
    issued_monthly bigint,
    used bigint,
    denomination bigint,
    legacy_prices boolean,
    addons_allowed boolean,
    granted bigint,
    cycle_number integer,
    cycle_start timestamptz,
    cycle_end timestamptz,
    cycle_seq bigint,
    next_due_at timestamptz
);
