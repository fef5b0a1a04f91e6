-- Signed licences: the keys that tenants sign them with. Licence keys themselves are kept nowhere.

-- What has a private key is the tenant's current signing key, and there is one at most. A retired
-- key only verifies what it has signed before, so its private half is gone.
CREATE TABLE license_keys (
    tenant_id uuid NOT NULL,
    -- The `kid` in the header of what it has signed.
    key_id uuid NOT NULL,
    public_key bytea NOT NULL,
    -- Encrypted with a key that the database does not have.
    private_key bytea,
    created_at timestamptz NOT NULL,
    CONSTRAINT license_keys_pk PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT license_keys_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT license_keys_public_key CHECK (octet_length(public_key) = 32)
);

CREATE UNIQUE INDEX license_keys_one_current ON license_keys (tenant_id)
WHERE private_key IS NOT NULL;
