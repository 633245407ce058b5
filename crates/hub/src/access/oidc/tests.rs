//! A local issuer: discovery and keys over HTTP, tokens as it would sign them and as it never would.

use super::*;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;
/// An RSA key of 2048 bits, PKCS #8, which ring can use and not make. Made for these tests; it protects nothing.
const RSA: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDJdRTa/7CGci7DZvAk1j+IKh6peU7BFtwWsZAhTHdMtgI0rA+whK3aQwkAiY\
    iSotm7GtO2B/e3e8VFwT0anvX5ajuEo40ReWeE4RpqMSIPXLgXhurovVspTHye5fFcuowqOmEXl+DHaBa469ufY6KQ2smJPC4Gz3TU55SDutBb\
    hsTZQK8B7j8H5nsZTn60WopH/vSlufhY66J+Vss+yXduz+V5nnZEGbimZcUk2djiGuRAIwUFlpQoP3aeoFJoOmTvljYnuNMtsknD0TBk3JmlHo\
    XPXPf0raKH+Ei+6q56xW7GwN0qa0dnlZGkspGtq2nnxGWhpOpCRh3jI3DiTP41AgMBAAECggEADhO/2tO+Ho7xBJd3VWOhOd8TmG0RGz4BMBbF\
    RwZkWbhoLA0P5ZpH2bYQdXim0fROOZxUyeYBodEkxkyL/AW6k2ygbxLMozl0Cd1+7oezZRZqCL7VQGEm8xpUpPfVZ1DjxXmh2jezLcvwtohIpv\
    kb3XpkVdIeNzyc4dmyz4eo0pRW9pAXwMUZkowTyR1gy73Z7wELc35GCbAM4cfT51fsp69P9/MaB1L3inTMvb7oxCAKb8tEmsUWCq2ZFnO8JySx\
    g7fxqdR5RqmiTXSxEVaovzoxGg8m2J/Pb8vJJyNDFZePXYgNA1Ane921/DeXiKRWDyiKLiImH7i09WZXgLbEgQKBgQDxFwLVm422kUym7PbAzP\
    jz68I9ei8/g437mMVkPArRMqzTBxA0ZWjQWssd2ICwUpOsEjk4tYMYW8XQWzJUrpC1AsCJNyW4SmCcz1jOhvcV8JMCJORKlzgaAJXzJewHkM4L\
    pZmL5ycrTai/gdbxUlHQUJFGoRV5saEon82dAzZuwQKBgQDV6pll3A669j4+bkwQPWCLGrGxBNFS1/z+pK7L0bNw9HIGKZm/CXvWMAaWf1Jkyt\
    mrn/DDc0iEOZ1bBHd9DBkPzQBOkCMg+TzFPTK6W1q07sUEszSttodyPwkQFrGNPEXgAgVwUtNBo0qo1EGh2mSZ7SR0vr7/UPRMxULTneRgdQKB\
    gQDTQIiZR+6LNRJnimhFVNYoVkMjv3a7Prkg5yK/y+TmnnLVjvDiGKIZQBWPF3DcD9+Z/XXqfRJcO74/7klR7oyaL8kp8wq4S2QQw5dbkOPdc6\
    o9TLpFqe/cyPqbznTdxELn7bl335pw1WGyPUFsv+c0lARYUToSIlXG1RBELtZ5gQKBgD8ZyM4nL6Eu6gV4e69+q2/dG/Vfum95jwN+iKFO5mO3\
    d7sholyb64+u8wKJ5EAfJj5eG6NL6mQ2qpgipSyZ2Pq0OhbypaogWzDDcKdQM12T4UIVqsBjS2kD9yRrzUwgL2x4rCoKBI8kH+3VTtbzmSFetp\
    ZJfgXKV4Yd2iyaMrfRAoGAYNNf9jM7/JF3bhSiDiD2wLgYKRuKtqrX9WNPpLfqoXg4Wcv7mWOaR7Px7uYfYKqRlTF4DyDhxJfQC8W6Uv8bCd4S\
    EyhffuLGZtD4xURr7vn62MtIDXNDufHwueQxLD1aNEn4FTRwfSxE3Yp1+lyE6U4AWwCGRX01BTLWCXqE9vc=";

/// What signs.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(Box::new(
            RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA).unwrap()).unwrap(),
        ))
    }

    fn ec() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap())
    }

    fn ed(seed: u8) -> Self {
        Self::Ed(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": b64(&public.n), "e": b64(&public.e)})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key().as_ref())}),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn minted(signer: &Signer, kid: &str, claims: &Value) -> String {
    minted_as(
        signer,
        &json!({"alg": signer.algorithm(), "typ": "JWT", "kid": kid}),
        claims,
    )
}

fn minted_as(signer: &Signer, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// An issuer on loopback.
struct Issuer {
    url: String,
    keys: Arc<std::sync::Mutex<Vec<Value>>>,
    fetched: Arc<AtomicUsize>,
    /// Its keys are answered one for each permit.
    open: Arc<tokio::sync::Semaphore>,
    serving: tokio::task::JoinHandle<()>,
}

impl Issuer {
    async fn start(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (keys, fetched) = (Arc::new(std::sync::Mutex::new(keys)), Arc::new(AtomicUsize::new(0)));
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "more": true});
        let (shown, counted) = (Arc::clone(&keys), Arc::clone(&fetched));
        let open = Arc::new(tokio::sync::Semaphore::new(1000));
        let opened = Arc::clone(&open);
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route(
                "/keys",
                get(async move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    opened.acquire().await.unwrap().forget();
                    let keys = shown.lock().unwrap().clone();
                    Json(json!({ "keys": keys }))
                }),
            );
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            keys,
            fetched,
            open,
            serving,
        }
    }

    fn hub(&self) -> Oidc {
        let group = |name: &str, role| (name.to_owned(), role);
        Oidc::new(Settings {
            issuer: self.url.clone(),
            audience: "floorhand".to_owned(),
            roles_claim: "realm.groups".to_owned(),
            name_claim: "sub".to_owned(),
            roles: vec![group("shift-leads", Role::Operator), group("builders", Role::Releaser)],
            ca: None,
        })
        .unwrap()
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": ["other", "floorhand"], "sub": "anna", "exp": NOW_S + 300, "iat": NOW_S,
            "nbf": NOW_S, "realm": {"groups": ["everybody", "shift-leads"]},
        })
    }

    fn with(&self, claim: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[claim] = value;
        claims
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn whom_the_issuer_vouches_for_is_let_in_by_each_algorithm() {
    for signer in [Signer::rsa(), Signer::ec(), Signer::ed(1)] {
        let issuer = Issuer::start(vec![signer.jwk("k1")]).await;
        let hub = issuer.hub();
        let found = hub.identify(&minted(&signer, "k1", &issuer.claims()), NOW_MS).await;
        let expected = Identity {
            name: "anna".to_owned(),
            roles: Roles::of(&[Role::Operator]),
            expires_ms: NOW_MS + 300_000,
        };
        assert_eq!(found, Ok(expected), "{}", signer.algorithm());
        let without_kid = minted_as(&signer, &json!({"alg": signer.algorithm()}), &issuer.claims());
        assert!(
            hub.identify(&without_kid, NOW_MS).await.is_ok(),
            "there is one key only"
        );
        let both = issuer.with("realm", json!({"groups": "builders shift-leads"}));
        let both = hub.identify(&minted(&signer, "k1", &both), NOW_MS).await.unwrap();
        assert_eq!(both.roles, Roles::of(&[Role::Operator, Role::Releaser]));
        assert_eq!(issuer.fetched(), 1);
    }
}

#[tokio::test]
async fn each_claim_that_is_wrong_is_refused_for_its_reason() {
    let (rsa, ed) = (Signer::rsa(), Signer::ed(1));
    let issuer = Issuer::start(vec![
        rsa.jwk("rsa"),
        ed.jwk("ed"),
        json!({"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}),
    ])
    .await;
    let hub = issuer.hub();
    let check = async |token: String, expected: Refused| {
        assert_eq!(hub.identify(&token, NOW_MS).await, Err(expected.clone()), "{expected}");
    };
    let by_ed = |claims: &Value| minted(&ed, "ed", claims);
    check(by_ed(&issuer.with("aud", json!("other"))), Refused::Audience).await;
    check(by_ed(&issuer.with("aud", Value::Null)), Refused::Audience).await;
    check(
        by_ed(&issuer.with("iss", json!("https://sso.example"))),
        Refused::Issuer,
    )
    .await;
    check(by_ed(&issuer.with("iss", json!([issuer.url]))), Refused::Issuer).await;
    check(by_ed(&issuer.with("exp", json!(NOW_S - 60))), Refused::Expired).await;
    assert!(
        hub.identify(&by_ed(&issuer.with("exp", json!(NOW_S - 59))), NOW_MS)
            .await
            .is_ok(),
        "leeway"
    );
    check(
        by_ed(&issuer.with("exp", Value::Null)),
        Refused::Claim("exp".to_owned()),
    )
    .await;
    check(
        by_ed(&issuer.with("exp", json!("9999999999"))),
        Refused::Claim("exp".to_owned()),
    )
    .await;
    check(by_ed(&issuer.with("nbf", json!(NOW_S + 61))), Refused::NotYet).await;
    check(
        by_ed(&issuer.with("nbf", json!("soon"))),
        Refused::Claim("nbf".to_owned()),
    )
    .await;
    check(by_ed(&issuer.with("iat", json!(NOW_S + 61))), Refused::NotYet).await;
    check(by_ed(&issuer.with("sub", json!(7))), Refused::Claim("sub".to_owned())).await;
    check(
        by_ed(&issuer.with("realm", json!({"groups": ["everybody"]}))),
        Refused::NoRole,
    )
    .await;
}

#[tokio::test]
async fn each_signature_that_is_wrong_is_refused_for_its_reason() {
    let (rsa, ed, foreign) = (Signer::rsa(), Signer::ed(1), Signer::ed(2));
    let issuer = Issuer::start(vec![
        rsa.jwk("rsa"),
        ed.jwk("ed"),
        json!({"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}),
    ])
    .await;
    let hub = issuer.hub();
    let check = async |token: String, expected: Refused| {
        assert_eq!(hub.identify(&token, NOW_MS).await, Err(expected.clone()), "{expected}");
    };
    let claims = issuer.claims();
    let by_ed = |claims: &Value| minted(&ed, "ed", claims);
    check(minted(&foreign, "ed", &claims), Refused::Signature).await;
    check(minted(&ed, "gone", &claims), Refused::UnknownKey("gone".to_owned())).await;
    check(
        minted_as(&ed, &json!({"alg": "EdDSA"}), &claims),
        Refused::UnknownKey(String::new()),
    )
    .await;
    check(minted(&ed, "rsa", &claims), Refused::OtherAlgorithm("EdDSA".to_owned())).await;
    for algorithm in ["none", "None", "HS256", "RS384", "PS256", ""] {
        let token = minted_as(&ed, &json!({"alg": algorithm, "kid": "ed"}), &claims);
        check(token, Refused::Algorithm(algorithm.to_owned())).await;
    }
    check(
        minted_as(
            &ed,
            &json!({"alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false}),
            &claims,
        ),
        Refused::Critical,
    )
    .await;
    let unsigned = format!(
        "{}.{}.",
        encoded(&json!({"alg": "EdDSA", "kid": "ed"})),
        encoded(&claims)
    );
    check(unsigned, Refused::Signature).await;
    let mut parts: Vec<String> = by_ed(&claims).split('.').map(str::to_owned).collect();
    parts[1] = encoded(&issuer.with("sub", json!("mallory")));
    check(parts.join("."), Refused::Signature).await;
    assert!(matches!(
        hub.identify("ey.ey.ey", NOW_MS).await,
        Err(Refused::Malformed(_))
    ));
    assert!(matches!(
        hub.identify(&"x".repeat(20_000), NOW_MS).await,
        Err(Refused::Malformed(_))
    ));
}

/// The old trick: HMAC with the public key, which everybody has, as the secret.
#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let ed = Signer::ed(1);
    let issuer = Issuer::start(vec![ed.jwk("ed")]).await;
    let Signer::Ed(pair) = &ed else { return };
    let message = format!(
        "{}.{}",
        encoded(&json!({"alg": "HS256", "kid": "ed"})),
        encoded(&issuer.claims())
    );
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair.public_key().as_ref());
    let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, message.as_bytes()));
    let refused = issuer.hub().identify(&format!("{message}.{signature}"), NOW_MS).await;
    assert_eq!(refused, Err(Refused::Algorithm("HS256".to_owned())));
}

#[tokio::test]
async fn keys_are_rotated_and_asked_for_in_bounds() {
    let (old, new) = (Signer::ed(1), Signer::ec());
    let issuer = Issuer::start(vec![old.jwk("old")]).await;
    let hub = issuer.hub();
    let (by_old, by_new) = (
        minted(&old, "old", &issuer.claims()),
        minted(&new, "new", &issuer.claims()),
    );
    assert!(hub.identify(&by_old, NOW_MS).await.is_ok());
    let unknown = Err(Refused::UnknownKey("new".to_owned()));
    for later_ms in [1000, 2000, 29_999] {
        assert_eq!(hub.identify(&by_new, NOW_MS + later_ms).await, unknown);
    }
    assert_eq!(issuer.fetched(), 1, "made-up ids make no storm of fetches");
    *issuer.keys.lock().unwrap() = vec![old.jwk("old"), new.jwk("new")];
    assert!(hub.identify(&by_new, NOW_MS + 30_000).await.is_ok());
    assert!(hub.identify(&by_old, NOW_MS + 30_000).await.is_ok());
    assert_eq!(issuer.fetched(), 2);
    *issuer.keys.lock().unwrap() = vec![new.jwk("new")];
    let lasting = |signer: &Signer, kid: &str| minted(signer, kid, &issuer.with("exp", json!(NOW_S + 1_000_000)));
    let (by_old, by_new) = (lasting(&old, "old"), lasting(&new, "new"));
    assert!(
        hub.identify(&by_old, NOW_MS + 60_000).await.is_ok(),
        "it was known, so nobody was asked"
    );
    let an_hour_later = NOW_MS + 30_000 + FRESH_MS;
    let gone = Err(Refused::UnknownKey("old".to_owned()));
    assert_eq!(
        hub.identify(&by_old, an_hour_later).await,
        gone,
        "a key that was withdrawn isn't believed for good"
    );
    issuer.serving.abort();
    assert!(issuer.serving.await.is_err());
    assert!(
        hub.identify(&by_new, an_hour_later + FRESH_MS).await.is_ok(),
        "a day without the issuer"
    );
    let late = hub.identify(&by_new, an_hour_later + STALE_MS).await;
    assert!(matches!(late, Err(Refused::Unavailable(_))), "{late:?}");
}

#[tokio::test]
async fn an_issuer_that_is_another_or_away_is_not_believed() {
    let ed = Signer::ed(1);
    let issuer = Issuer::start(vec![ed.jwk("ed")]).await;
    let mut hub = issuer.hub();
    let own = issuer.url.clone();
    // The same server by another name: its discovery document says who it is.
    hub.settings.issuer = own.replace("127.0.0.1", "localhost");
    hub.fetcher = Arc::new(fetch::Fetcher::new(&hub.settings.issuer, None).unwrap());
    let refused = hub.identify(&minted(&ed, "ed", &issuer.claims()), NOW_MS).await;
    assert!(matches!(refused, Err(Refused::Unavailable(why)) if why.contains("of another issuer")));
}

#[tokio::test]
async fn an_issuer_that_is_slow_holds_up_only_whose_key_is_not_known() {
    let ed = Signer::ed(1);
    let issuer = Issuer::start(vec![ed.jwk("k1")]).await;
    let hub = Arc::new(issuer.hub());
    let known = minted(&ed, "k1", &issuer.with("exp", json!(NOW_S + 10_000)));
    let made_up = minted(&ed, "made-up", &issuer.claims());
    let (first, second) = tokio::join!(hub.identify(&known, NOW_MS), hub.identify(&known, NOW_MS));
    assert!(
        first.is_ok() && second.is_ok(),
        "whoever comes while the keys are fetched first waits for them"
    );
    assert_eq!(issuer.fetched(), 1);
    let asks = |token: &str, now_ms: u64| {
        let (hub, token) = (Arc::clone(&hub), token.to_owned());
        tokio::spawn(async move { hub.identify(&token, now_ms).await })
    };
    issuer.open.forget_permits(1000);
    // The one who asks is held up: somebody with a made-up key id, then whoever comes first when the keys have grown old.
    for (asked, asker, now_ms) in [(2, &made_up, NOW_MS + 60_000), (3, &known, NOW_MS + 60_000 + FRESH_MS)] {
        let held_up = asks(asker, now_ms);
        let is_asked = async {
            while issuer.fetched() < asked {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), is_asked).await;
        assert!(in_time.is_ok(), "the issuer was not asked");
        // No other task runs between here and the answer, unless this one has to wait for it.
        assert!(hub.identify(&known, now_ms).await.is_ok());
        assert!(!held_up.is_finished(), "the answer was waited for");
        issuer.open.add_permits(1);
        assert_eq!(held_up.await.unwrap().is_ok(), asker == &known);
        assert_eq!(issuer.fetched(), asked);
    }
}
