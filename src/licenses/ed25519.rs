//! Ed25519 for [`jsonwebtoken`], by the cryptography that TLS uses here already, and nothing else:
//! whatever algorithm a token names, this is the only one there is.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

struct Signing(Ed25519KeyPair);

struct Verifying(UnparsedPublicKey<Vec<u8>>);

/// Has [`jsonwebtoken`] sign and verify by this file. The first call counts.
pub fn install() {
    let _was_there = PROVIDER.install_default();
}

/// A new private key, as PKCS #8, and its public key.
///
/// # Panics
/// The system has no randomness.
pub fn generate() -> (Vec<u8>, Vec<u8>) {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let private = private.expect("the system has randomness");
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref());
    let pair = pair.expect("it was made so a moment ago");
    let public = pair.public_key().as_ref().to_vec();
    (private.as_ref().to_vec(), public)
}

fn signer(_: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes());
    let pair = pair.map_err(|_| ErrorKind::InvalidEddsaKey)?;
    Ok(Box::new(Signing(pair)))
}

fn verifier(_: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let public = key.try_get_as_bytes()?.to_vec();
    Ok(Box::new(Verifying(UnparsedPublicKey::new(
        &ED25519, public,
    ))))
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.0.verify(message, signature).map_err(|_| Error::new())
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
