-- Selling add-on credits: how a tenant's provider is reached, its promo codes, its checkouts.

-- What is needed to ask Stripe and to believe its events. Every secret is encrypted with a key that
-- the database does not have.
CREATE TABLE stripe_settings (
    tenant_id uuid NOT NULL,
    api_key bytea,
    webhook_secrets bytea[] NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT stripe_settings_pk PRIMARY KEY (tenant_id),
    CONSTRAINT stripe_settings_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);

CREATE TABLE promo_codes (
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    -- Exactly one of the three: hundredths of a percent, the currency's smallest unit, hundredths of
    -- a credit.
    percent_off bigint,
    amount_off_cents bigint,
    bonus bigint,
    expires_at timestamptz,
    max_redemptions bigint,
    once_per_pool boolean NOT NULL,
    -- How many rows `promo_redemptions` has for it: both change in one transaction, under this row's
    -- lock, so a limit holds on any number of replicas.
    redemptions bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT promo_codes_pk PRIMARY KEY (tenant_id, code),
    CONSTRAINT promo_codes_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT promo_codes_one_reduction CHECK (
        num_nonnulls(percent_off, amount_off_cents, bonus) = 1
    ),
    CONSTRAINT promo_codes_bounds CHECK (
        percent_off BETWEEN 1 AND 10000
        AND amount_off_cents > 0
        AND bonus > 0
        AND max_redemptions > 0
        AND redemptions >= 0
    )
);

CREATE INDEX promo_codes_newest ON promo_codes (tenant_id, created_at DESC, code DESC);

-- A code used by a checkout. Keyed by what is unique across pools, so it can live on another shard
-- than the checkout: the checkout's row is there first and names the code, so whoever finds it can
-- take or give back the redemption again.
CREATE TABLE promo_redemptions (
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    checkout_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    -- Whether the code was good once a pool when it was used.
    once_per_pool boolean NOT NULL,
    redeemed_at timestamptz NOT NULL,
    CONSTRAINT promo_redemptions_pk PRIMARY KEY (tenant_id, code, checkout_id),
    CONSTRAINT promo_redemptions_code_fk FOREIGN KEY (tenant_id, code)
        REFERENCES promo_codes (tenant_id, code)
);

CREATE INDEX promo_redemptions_of_pool ON promo_redemptions (tenant_id, code, pool_id);
CREATE UNIQUE INDEX promo_redemptions_once ON promo_redemptions (tenant_id, code, pool_id)
WHERE once_per_pool;

-- No foreign key to `pools`: a pool that is made when first used need not be there yet.
CREATE TABLE checkouts (
    pool_id uuid NOT NULL,
    checkout_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    pool text NOT NULL,
    idempotency_key text NOT NULL,
    fingerprint bytea NOT NULL,
    -- `creating` until the provider has a session for it: nobody has been told of it yet.
    status text NOT NULL,
    credits bigint NOT NULL,
    bonus bigint NOT NULL,
    subtotal_cents bigint NOT NULL,
    discount_cents bigint NOT NULL,
    total_cents bigint NOT NULL,
    currency text NOT NULL,
    promo_code text,
    user_id text,
    customer_email text,
    success_url text NOT NULL,
    cancel_url text NOT NULL,
    -- Who asked for it.
    actor uuid,
    session_id text,
    checkout_url text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- While it is being made, until when whoever does so may be waited for.
    leased_until timestamptz NOT NULL,
    -- How often somebody set out to make it: only the last one may give it up.
    attempt bigint NOT NULL,
    -- When a job looks at it again.
    next_look_at timestamptz,
    CONSTRAINT checkouts_pk PRIMARY KEY (pool_id, checkout_id),
    CONSTRAINT checkouts_idempotency_key UNIQUE (pool_id, idempotency_key),
    CONSTRAINT checkouts_status CHECK (status IN ('creating', 'pending', 'completed', 'expired')),
    CONSTRAINT checkouts_amounts CHECK (
        credits > 0 AND bonus >= 0 AND discount_cents >= 0 AND total_cents >= 0
        AND subtotal_cents = discount_cents + total_cents
    )
);

CREATE INDEX checkouts_by_id ON checkouts (tenant_id, checkout_id);
CREATE INDEX checkouts_to_look_at ON checkouts (next_look_at) WHERE next_look_at IS NOT NULL;
