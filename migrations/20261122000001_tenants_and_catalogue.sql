-- Tenants, their keys and what they sell. Small tables that every decision may need: on a
-- distributed Postgres they are reference tables.

CREATE TABLE tenants (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    mode text NOT NULL,
    auto_provision_workspace text,
    auto_provision_instance text,
    max_debit bigint NOT NULL,
    -- Goes up with every change of settings or catalogue: who has read this version may remember it.
    catalogue_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT tenants_pk PRIMARY KEY (tenant_id),
    CONSTRAINT tenants_mode CHECK (mode IN ('live', 'sandbox')),
    CONSTRAINT tenants_max_debit CHECK (max_debit > 0)
);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    key_id uuid NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    -- Names of the pools the key is bound to; NULL for all of the tenant's.
    pools text[],
    -- SHA-256 of the secret, which has 190 random bits: a slow hash would protect nothing more.
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_pk PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT api_keys_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT api_keys_secret_hash UNIQUE (secret_hash)
);

CREATE TABLE plans (
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    aliases text[] NOT NULL,
    CONSTRAINT plans_pk PRIMARY KEY (tenant_id, code),
    CONSTRAINT plans_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);

-- A version is never changed: a cycle that is booked late must find what was in force at its start.
CREATE TABLE plan_versions (
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    version integer NOT NULL,
    effective_at timestamptz NOT NULL,
    name text NOT NULL,
    allowance_per text NOT NULL,
    allowance_credits bigint,
    addons boolean NOT NULL,
    denomination bigint NOT NULL,
    legacy_prices boolean NOT NULL,
    CONSTRAINT plan_versions_pk PRIMARY KEY (tenant_id, code, version),
    CONSTRAINT plan_versions_plan_fk FOREIGN KEY (tenant_id, code) REFERENCES plans (tenant_id, code),
    CONSTRAINT plan_versions_allowance CHECK (
        (allowance_per IN ('builder', 'pool') AND allowance_credits > 0)
        OR (allowance_per = 'custom' AND allowance_credits IS NULL)
    ),
    CONSTRAINT plan_versions_denomination CHECK (denomination IN (1, 10, 100))
);

CREATE TABLE operations (
    tenant_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    estimate bigint NOT NULL,
    fixed bigint,
    legacy_fixed bigint,
    CONSTRAINT operations_pk PRIMARY KEY (tenant_id, code),
    CONSTRAINT operations_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT operations_prices CHECK (estimate > 0 AND fixed > 0 AND legacy_fixed > 0)
);

CREATE TABLE addon_terms (
    tenant_id uuid NOT NULL,
    step bigint NOT NULL,
    minimum bigint NOT NULL,
    price_cents_per_step bigint NOT NULL,
    currency text NOT NULL,
    validity_months integer NOT NULL,
    CONSTRAINT addon_terms_pk PRIMARY KEY (tenant_id),
    CONSTRAINT addon_terms_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT addon_terms_bounds CHECK (
        step > 0 AND minimum > 0 AND price_cents_per_step >= 0 AND validity_months > 0
    )
);

-- The clocks of sandbox tenants, moved by hand.
CREATE TABLE test_clocks (
    tenant_id uuid NOT NULL,
    clock_id uuid NOT NULL,
    now timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT test_clocks_pk PRIMARY KEY (tenant_id, clock_id),
    CONSTRAINT test_clocks_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id)
);
