-- Purchases of add-on credits, and the claim that lets a payment be credited once for a tenant.

CREATE TABLE purchases (
    pool_id uuid NOT NULL,
    purchase_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    -- The entry that credited it.
    seq bigint NOT NULL,
    credits bigint NOT NULL,
    payment_reference text NOT NULL,
    paid_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    amount_cents bigint,
    currency text,
    user_id text,
    created_at timestamptz NOT NULL,
    CONSTRAINT purchases_pk PRIMARY KEY (pool_id, purchase_id),
    CONSTRAINT purchases_reference UNIQUE (pool_id, payment_reference),
    CONSTRAINT purchases_pool_fk FOREIGN KEY (pool_id) REFERENCES pools (pool_id),
    CONSTRAINT purchases_credits CHECK (credits > 0)
);

CREATE INDEX purchases_of_tenant ON purchases (tenant_id, created_at DESC, purchase_id DESC);

-- Keyed by what is unique across pools, so it can live on another shard than the pool. A claim is
-- made in its own short transaction before the purchase is booked, and never points elsewhere.
CREATE TABLE payment_claims (
    tenant_id uuid NOT NULL,
    payment_reference text NOT NULL,
    pool_id uuid NOT NULL,
    credits bigint NOT NULL,
    purchase_id uuid NOT NULL,
    claimed_at timestamptz NOT NULL,
    CONSTRAINT payment_claims_pk PRIMARY KEY (tenant_id, payment_reference)
);

CREATE TYPE purchase_input AS (
    pool_id uuid,
    purchase_id uuid,
    tenant_id uuid,
    seq bigint,
    credits bigint,
    payment_reference text,
    paid_at timestamptz,
    expires_at timestamptz,
    amount_cents bigint,
    currency text,
    user_id text,
    created_at timestamptz
);
