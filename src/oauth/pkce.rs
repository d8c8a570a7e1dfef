//! The parts of an authorisation request: a state and a PKCE verifier that nobody can guess (RFC 6749, RFC 7636).

use crate::types::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Characters of a state and of a verifier: 256 random bits.
const LENGTH: usize = 43;

/// 256 random bits in 43 characters of base64url: a state, or a verifier as RFC 7636, 4.1 wants it.
pub fn random() -> Secret {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(bytes.as_mut_slice());
    Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// Whether a text could be a state of ours: invented ones cost no query of the store.
pub fn is_well_formed(state: &str) -> bool {
    state.len() == LENGTH && state.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The challenge of a verifier by the method `S256`, the one that Datadog takes
/// (docs.datadoghq.com/extend/authorization/oauth2_endpoints).
fn challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()))
}

/// Where the customer's browser is sent to. Datadog's pages name no `scope`: the client has its scopes.
pub fn authorize_url(base: &str, client_id: &str, redirect_uri: &str, state: &Secret, verifier: &Secret) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("client_id", client_id)
        .append_pair("response_type", "code")
        .append_pair("code_challenge", &challenge(verifier))
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", state.expose())
        .finish();
    format!("{base}/oauth2/v1/authorize?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn states_are_well_formed_and_never_the_same() {
        let (one, two) = (random(), random());
        assert!(is_well_formed(one.expose()) && is_well_formed(two.expose()));
        assert_ne!(one.expose(), two.expose());
        assert!(!is_well_formed("x") && !is_well_formed(&"é".repeat(21)) && !is_well_formed(&"=".repeat(43)));
    }

    #[test]
    fn every_parameter_is_encoded() {
        let url = authorize_url("https://app.x", "a&b", "https://y/z?q=1#", &Secret::new("s"), &Secret::new("v"));
        assert!(url.starts_with("https://app.x/oauth2/v1/authorize?redirect_uri=https%3A%2F%2Fy%2Fz%3Fq%3D1%23&"));
        assert!(url.contains("&client_id=a%26b&response_type=code&") && url.ends_with("&state=s"), "{url}");
    }
}
