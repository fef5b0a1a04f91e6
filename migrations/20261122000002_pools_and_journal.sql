-- Pools and their journal. `pool_id` leads every key, so that the tables can be sharded by it; it is
-- derived from tenant and name, so a name needs no look-up and no unique key of its own.
-- All amounts are hundredths of a credit.

CREATE TABLE pools (
    pool_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    -- When the row was made, whatever clock the pool lives on: lists are ordered by it.
    recorded_at timestamptz NOT NULL,
    -- The head of the journal. A write counts only if `seq` is still what was read.
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    last_at timestamptz NOT NULL,
    -- The accounts: what the transfers of the journal add up to.
    monthly bigint NOT NULL,
    addon bigint NOT NULL,
    held_monthly bigint NOT NULL,
    held_addon bigint NOT NULL,
    held_ended bigint NOT NULL,
    overdraft bigint NOT NULL,
    consumed bigint NOT NULL,
    lapsed bigint NOT NULL,
    issued_monthly bigint NOT NULL,
    issued_addon bigint NOT NULL,
    adjusted bigint NOT NULL,
    clawed_back bigint NOT NULL,
    used bigint NOT NULL,
    -- The terms in force, and the rules of the plan version they were granted by.
    plan text NOT NULL,
    builders bigint,
    monthly_allowance bigint,
    denomination bigint NOT NULL,
    legacy_prices boolean NOT NULL,
    addons_allowed boolean NOT NULL,
    -- The cycle.
    granted bigint NOT NULL,
    cycle_number integer NOT NULL,
    cycle_anchor timestamptz NOT NULL,
    cycle_start timestamptz NOT NULL,
    cycle_end timestamptz NOT NULL,
    cycle_seq bigint NOT NULL,
    -- The live add-on pool; NULL when there is none.
    addon_granted bigint,
    addon_expires_at timestamptz,
    addon_seq bigint,
    -- What the last add-on pool lost when it expired; NULL once it was reinstated.
    expired_addon_at timestamptz,
    expired_addon_granted bigint,
    expired_addon_lapsed bigint,
    -- Cold: JSON of what was requested, what waits, and the licence that is shown.
    requested text NOT NULL,
    pending text,
    license text,
    license_ends_at timestamptz,
    first_trial_at timestamptz,
    fallen_back boolean NOT NULL,
    billing_anchor timestamptz NOT NULL,
    test_clock uuid,
    closed_at timestamptz,
    -- When something next happens by itself; NULL on a test clock and once closed.
    next_due_at timestamptz,
    CONSTRAINT pools_pk PRIMARY KEY (pool_id),
    CONSTRAINT pools_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT pools_conserved CHECK (
        monthly + addon + held_monthly + held_addon + held_ended + overdraft + consumed + lapsed
        + issued_monthly + issued_addon + adjusted + clawed_back = 0
    ),
    CONSTRAINT pools_never_below_zero CHECK (
        monthly >= 0 AND addon >= 0 AND held_monthly >= 0 AND held_addon >= 0 AND held_ended >= 0
        AND overdraft <= 0 AND used >= 0 AND granted >= 0
    ),
    CONSTRAINT pools_addon_pool CHECK (
        (addon_granted IS NULL) = (addon_expires_at IS NULL)
        AND (addon_granted IS NULL) = (addon_seq IS NULL)
        AND (addon_granted IS NOT NULL OR addon = 0)
    )
-- Debits change no indexed column, so with room on the page an update stays in it.
) WITH (fillfactor = 70);

CREATE INDEX pools_due ON pools (next_due_at) WHERE next_due_at IS NOT NULL;
CREATE INDEX pools_of_tenant ON pools (tenant_id, recorded_at DESC, pool_id DESC);
CREATE INDEX pools_of_clock ON pools (tenant_id, test_clock) WHERE test_clock IS NOT NULL;

-- One row for each event of the ledger. Never changed, never removed: the role the service runs as
-- may not. No foreign key to `pools`: the statement that appends entries also moves their pool's
-- `seq`, and checking it again row by row would cost the hot path more than all the rest.
CREATE TABLE entries (
    pool_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor uuid,
    idempotency_key text,
    fingerprint bytea,
    operation text,
    user_id text,
    workspace_id text,
    run_id text,
    model text,
    reference text,
    reason text,
    purchase_id uuid,
    -- JSON text, as it was hashed.
    metadata text,
    details text,
    -- <from>><to>:<hundredths>, separated by commas; the view `transfers` takes them apart.
    transfers text NOT NULL,
    -- The balance after the entry.
    granted bigint NOT NULL,
    monthly bigint NOT NULL,
    held_monthly bigint NOT NULL,
    used bigint NOT NULL,
    cycle_start timestamptz NOT NULL,
    renews_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    addon_granted bigint NOT NULL,
    addon bigint NOT NULL,
    held_addon bigint NOT NULL,
    addon_expires_at timestamptz,
    overdraft bigint NOT NULL,
    held_ended bigint NOT NULL,
    -- Which entries opened the cycle and the add-on pool that were current after this one.
    cycle_seq bigint NOT NULL,
    addon_seq bigint,
    hash bytea NOT NULL,
    CONSTRAINT entries_pk PRIMARY KEY (pool_id, seq),
    CONSTRAINT entries_idempotency_key UNIQUE (pool_id, idempotency_key),
    CONSTRAINT entries_key_and_fingerprint CHECK (
        (idempotency_key IS NULL) = (fingerprint IS NULL)
    ),
    CONSTRAINT entries_never_below_zero CHECK (
        monthly >= 0 AND held_monthly >= 0 AND addon >= 0 AND held_addon >= 0 AND held_ended >= 0
        AND overdraft >= 0 AND used >= 0
    )
);

CREATE VIEW transfers AS
SELECT
    e.pool_id,
    e.seq,
    t.leg,
    split_part(split_part(t.text, ':', 1), '>', 1) AS from_account,
    split_part(split_part(t.text, ':', 1), '>', 2) AS to_account,
    split_part(t.text, ':', 2)::bigint AS amount
FROM entries AS e
CROSS JOIN LATERAL string_to_table(e.transfers, ',') WITH ORDINALITY AS t (text, leg)
WHERE e.transfers <> '';

-- What a batch writes: arrays of these, unnested. They name their columns themselves, so a new column
-- in a table does not break a service that does not know it yet.
CREATE TYPE entry_input AS (
    pool_id uuid,
    seq bigint,
    kind text,
    at timestamptz,
    actor uuid,
    idempotency_key text,
    fingerprint bytea,
    operation text,
    user_id text,
    workspace_id text,
    run_id text,
    model text,
    reference text,
    reason text,
    purchase_id uuid,
    metadata text,
    details text,
    transfers text,
    granted bigint,
    monthly bigint,
    held_monthly bigint,
    used bigint,
    cycle_start timestamptz,
    renews_at timestamptz,
    expires_at timestamptz,
    addon_granted bigint,
    addon bigint,
    held_addon bigint,
    addon_expires_at timestamptz,
    overdraft bigint,
    held_ended bigint,
    cycle_seq bigint,
    addon_seq bigint,
    hash bytea
);

-- A pool after debits only: what they can change.
CREATE TYPE pool_balance_input AS (
    pool_id uuid,
    read_seq bigint,
    seq bigint,
    hash bytea,
    last_at timestamptz,
    monthly bigint,
    addon bigint,
    overdraft bigint,
    consumed bigint,
    used bigint
);

-- A pool after anything else, or a new one (`read_seq` 0).
CREATE TYPE pool_input AS (
    pool_id uuid,
    read_seq bigint,
    tenant_id uuid,
    name text,
    created_at timestamptz,
    seq bigint,
    hash bytea,
    last_at timestamptz,
    monthly bigint,
    addon bigint,
    held_monthly bigint,
    held_addon bigint,
    held_ended bigint,
    overdraft bigint,
    consumed bigint,
    lapsed bigint,
    issued_monthly bigint,
    issued_addon bigint,
    adjusted bigint,
    clawed_back bigint,
    used bigint,
    plan text,
    builders bigint,
    monthly_allowance bigint,
    denomination bigint,
    legacy_prices boolean,
    addons_allowed boolean,
    granted bigint,
    cycle_number integer,
    cycle_anchor timestamptz,
    cycle_start timestamptz,
    cycle_end timestamptz,
    cycle_seq bigint,
    addon_granted bigint,
    addon_expires_at timestamptz,
    addon_seq bigint,
    expired_addon_at timestamptz,
    expired_addon_granted bigint,
    expired_addon_lapsed bigint,
    requested text,
    pending text,
    license text,
    license_ends_at timestamptz,
    first_trial_at timestamptz,
    fallen_back boolean,
    billing_anchor timestamptz,
    test_clock uuid,
    closed_at timestamptz,
    next_due_at timestamptz
);
