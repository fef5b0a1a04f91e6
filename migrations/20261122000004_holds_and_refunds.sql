-- Reserved credits and credits given back. All amounts are hundredths of a credit.

-- A hold and what became of it: what its entries in the journal say, kept where a batch finds it.
CREATE TABLE holds (
    pool_id uuid NOT NULL,
    -- The entry that opened it, and its instant: together they are the hold's id.
    seq bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    -- The last entry about it.
    last_seq bigint NOT NULL,
    status text NOT NULL,
    expires_at timestamptz NOT NULL,
    requested bigint NOT NULL,
    -- What it reserved, and which entries opened the cycle and the add-on pool that came from.
    monthly bigint NOT NULL,
    addon bigint NOT NULL,
    cycle_seq bigint NOT NULL,
    addon_seq bigint,
    -- Who fixed the price of the work; NULL when its request named the credits.
    price text,
    operation text,
    user_id text,
    workspace_id text,
    run_id text,
    model text,
    CONSTRAINT holds_pk PRIMARY KEY (pool_id, seq),
    CONSTRAINT holds_pool_fk FOREIGN KEY (pool_id) REFERENCES pools (pool_id),
    CONSTRAINT holds_status CHECK (status IN ('open', 'captured', 'released', 'expired')),
    CONSTRAINT holds_credits CHECK (monthly >= 0 AND addon >= 0 AND monthly + addon > 0)
);

CREATE INDEX holds_open ON holds (pool_id, seq) WHERE status = 'open';

-- What was given back of each debit. A debit's refunds lie side by side.
CREATE TABLE refunds (
    pool_id uuid NOT NULL,
    debit_seq bigint NOT NULL,
    -- The entry that gave it back.
    seq bigint NOT NULL,
    credits bigint NOT NULL,
    CONSTRAINT refunds_pk PRIMARY KEY (pool_id, debit_seq, seq),
    CONSTRAINT refunds_pool_fk FOREIGN KEY (pool_id) REFERENCES pools (pool_id),
    CONSTRAINT refunds_credits CHECK (credits > 0)
);

-- A run's debits are refunded together. Debits of no run pay nothing for it.
CREATE INDEX entries_of_run ON entries (pool_id, run_id, seq)
WHERE run_id IS NOT NULL AND kind = 'debit';

ALTER TABLE pools
    -- What refunded and disputed payments have lost and is still to be taken back.
    ADD COLUMN uncollected bigint NOT NULL DEFAULT 0,
    ADD COLUMN open_holds integer NOT NULL DEFAULT 0,
    -- When the first of them expires.
    ADD COLUMN next_hold_at timestamptz,
    -- What open holds have of the last add-on pool that expired, and the entry that opened it.
    ADD COLUMN expired_addon_held bigint,
    ADD COLUMN expired_addon_seq bigint;

UPDATE pools AS p
SET
    expired_addon_held = 0,
    expired_addon_seq = (
        SELECT e.addon_seq
        FROM entries AS e
        WHERE e.pool_id = p.pool_id
            AND e.addon_seq IS NOT NULL
            AND e.at < p.expired_addon_at
        ORDER BY e.seq DESC
        LIMIT 1
    )
WHERE p.expired_addon_at IS NOT NULL;

ALTER TABLE pools
    ADD CONSTRAINT pools_holds CHECK (
        (open_holds = 0) = (next_hold_at IS NULL)
        AND (open_holds > 0 OR held_monthly + held_addon + held_ended = 0)
    );

-- A pool after anything but debits, or a new one (`read_seq` 0). It takes the place of `pool_input`,
-- which stays for services that do not know the columns above.
CREATE TYPE pool_state_input AS (
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
    expired_addon_held bigint,
    expired_addon_seq bigint,
    uncollected bigint,
    open_holds integer,
    next_hold_at timestamptz,
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

CREATE TYPE hold_input AS (
    pool_id uuid,
    seq bigint,
    opened_at timestamptz,
    last_seq bigint,
    status text,
    expires_at timestamptz,
    requested bigint,
    monthly bigint,
    addon bigint,
    cycle_seq bigint,
    addon_seq bigint,
    price text,
    operation text,
    user_id text,
    workspace_id text,
    run_id text,
    model text
);

CREATE TYPE refund_input AS (
    pool_id uuid,
    debit_seq bigint,
    seq bigint,
    credits bigint
);
