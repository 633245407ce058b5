//! Devices that come in by themselves, with a token that lets them in once, and certificates: the first, and those after it.
//!
//! The request shows that who sends it has the token, the device's key and the TLS key. The answer is signed by the hub, so
//! that it doesn't matter by what way it comes.

use super::enrolment::{Enrolled, enrolled};
use super::{Hub, HubError};
use crate::access::Actor;
use crate::authority::{Authority, AuthorityError};
use crate::database::{EnrolmentTokenRow, NewCertificate, Redeemed, Redemption, signed, unsigned};
use floorhand_bundle::{DeviceId, Digest, HardwareClass, KeyId, PublicKey, RootChain, SecretKey, TrustRoot, Verified};
use floorhand_protocol::{Down, EnrolmentRequest, EnrolmentToken, IssuedCertificate, Renewal};
use serde_bytes::ByteBuf;

/// A device that has just got a certificate has no need of another: the least time between two is a minute, or a tenth of a
/// short life.
const RENEWAL_REST_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// This long before its end a CA is worth a warning in the log: every device has to be visited. Earlier where certificates
/// live long, since those that are made then end with it.
const CA_SOON_MS: u64 = 90 * DAY_MS;
/// The longest that a token may be good for: who needs one later makes one later.
const MAX_TOKEN_MS: u64 = 366 * DAY_MS;
/// Bytes of roots in an answer, of which a device reads 1 MiB and most is base64: some 500 versions. Where there are more,
/// the oldest are left out.
const MAX_ROOTS_BYTES: usize = 512 * 1024;
/// Characters of a pattern: those of an id, and some stars.
const MAX_PATTERN: usize = 80;

/// By what a hub makes certificates.
#[derive(Debug)]
pub(crate) struct Enrolment {
    pub(crate) authority: Authority,
    /// The broker's address, as devices reach it.
    pub(crate) broker: Option<String>,
    /// CA certificates that the broker's is from (DER); empty where it is the fleet's own CA.
    pub(crate) broker_ca: Vec<Vec<u8>>,
    pub(crate) certificate_ttl_ms: u64,
    /// The digest of the CA's certificate that the API's HTTPS certificate is from.
    pub(crate) api_ca: Option<Digest>,
    /// Names that no device may have: the broker gives them rights of their own.
    pub(crate) reserved: Vec<String>,
}

/// What an operator wants a token to be.
#[derive(Debug, Clone)]
pub(crate) struct TokenWish {
    /// The devices that it is for; `*` stands for any characters.
    pub(crate) pattern: String,
    pub(crate) hardware: Option<HardwareClass>,
    /// Whether a device that is known by another key gets the new one.
    pub(crate) replace: bool,
    pub(crate) valid_ms: u64,
}

/// A token that was made.
#[derive(Debug)]
pub(crate) struct NewEnrolmentToken {
    pub(crate) row: EnrolmentTokenRow,
    /// The secret line. Kept nowhere.
    pub(crate) text: String,
}

/// A device that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The envelopes of the roots before `root`, the oldest first: a device may have one of them, and an older token pin it.
    pub(crate) earlier_roots: Vec<Vec<u8>>,
    /// The envelope of the trust root that tokens pin.
    pub(crate) root: Vec<u8>,
    /// Those of the roots after it, up to the one that counts.
    pub(crate) next_roots: Vec<Vec<u8>>,
    /// The signed answer.
    pub(crate) answer: Vec<u8>,
}

impl Hub {
    fn issuing(&self) -> Result<&Enrolment, HubError> {
        self.enrolment.as_ref().ok_or_else(|| {
            HubError::Conflict(
                "this hub makes no certificates: give its configuration an [enrolment] section".to_owned(),
            )
        })
    }

    /// Makes a token.
    pub(crate) async fn create_token(&self, wish: &TokenWish) -> Result<NewEnrolmentToken, HubError> {
        let enrolment = self.issuing()?;
        let device = check_wish(wish)?;
        if let Some(device) = &device {
            refuse_reserved(enrolment, device)?;
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| HubError::Internal(error.to_string()))?;
        let token = EnrolmentToken {
            secret: SecretKey::from_seed(&seed),
            root: pinned(&self.roots(), self.root.version).digest(),
            api_ca: enrolment.api_ca,
            device,
        };
        let (public, now_ms) = (token.secret.public(), self.now_ms());
        let row = EnrolmentTokenRow {
            id: public.id().to_string(),
            public_key: hex::encode(public.as_bytes()),
            pattern: wish.pattern.clone(),
            hardware: wish.hardware.as_ref().map(ToString::to_string).unwrap_or_default(),
            replaces: i64::from(wish.replace),
            created_ms: signed(now_ms),
            expires_ms: signed(now_ms + wish.valid_ms),
            used_ms: 0,
            device: String::new(),
            request: String::new(),
            answer: String::new(),
        };
        self.database.add_enrolment_token(&row, now_ms).await?;
        tracing::info!(token = row.id, pattern = row.pattern, "made an enrolment token");
        let text = token.to_text();
        Ok(NewEnrolmentToken { row, text })
    }

    /// Lets a device in that shows a token, and gives it its certificate. The same request gets the same answer as long as
    /// the token is valid, so that an answer that was lost can be asked for again.
    pub(crate) async fn admit(&self, bytes: &[u8]) -> Result<Admitted, HubError> {
        let enrolment = self.issuing()?;
        let now_ms = self.now_ms();
        let signers = EnrolmentRequest::signers(bytes).map_err(refused)?;
        let token = self.token_of(&signers).await?;
        if now_ms > unsigned(token.expires_ms) {
            return Err(HubError::Refused(
                "the enrolment token has expired; ask for a new one".to_owned(),
            ));
        }
        let request = EnrolmentRequest::open(bytes, &token_key(&token)?).map_err(refused)?;
        let digest = Digest::of(bytes).to_string();
        if token.used_ms != 0 {
            if token.request == digest {
                let answer = hex::decode(&token.answer).map_err(|error| HubError::Internal(error.to_string()))?;
                return Ok(self.admitted(answer));
            }
            return Err(used(&token.device));
        }
        check_request(&token, &request)?;
        self.check_fleet(&request)?;
        refuse_reserved(enrolment, &request.device)?;
        let (answer, certificate) = self.certify(enrolment, &request.device, &request.csr, now_ms)?;
        let redemption = Redemption {
            token: &token.id,
            request: digest,
            public_key: hex::encode(request.public_key.as_bytes()),
            replace: token.replaces != 0,
            certificate,
        };
        let redeeming = self.database.redeem(&redemption, now_ms);
        match Actor::enrolment_token(&token.id).act(redeeming).await? {
            Redeemed::TooLate => Err(used("another device, just now")),
            Redeemed::Done(registered) => {
                let registration = enrolled(&request.device, &request.public_key, registered)?;
                let device = &request.device;
                tracing::info!(%device, token = token.id, registration = registration.name(), "a device has enrolled");
                if registration == Enrolled::Replaced {
                    tracing::warn!(%device, "its key has taken the place of another");
                }
                Ok(self.admitted(answer))
            }
        }
    }

    /// A device that has a root of another fleet wouldn't take the answer: the token is kept for who is meant.
    fn check_fleet(&self, request: &EnrolmentRequest) -> Result<(), HubError> {
        match &request.fleet {
            Some(fleet) if *fleet != self.root.fleet => Err(HubError::Refused(format!(
                "{} has the trust root of fleet {fleet}, and this is the hub of fleet {}: give it a token of its own hub",
                request.device, self.root.fleet
            ))),
            _ => Ok(()),
        }
    }

    /// The answer with the whole chain of roots, so that it is understood whichever of them the device or its token has.
    fn admitted(&self, answer: Vec<u8>) -> Admitted {
        let roots = self.roots();
        let pinned = pinned(&roots, self.root.version);
        let (mut earlier_roots, mut next_roots) = (Vec::new(), Vec::new());
        let mut left = MAX_ROOTS_BYTES;
        for root in roots.iter() {
            left = left.saturating_sub(root.envelope().len());
            if root.version > pinned.version {
                next_roots.push(root.envelope().to_vec());
            } else if root.version < pinned.version && left > 0 {
                earlier_roots.push(root.envelope().to_vec());
            }
        }
        // The chain was gone through from its newest.
        earlier_roots.reverse();
        next_roots.reverse();
        Admitted {
            earlier_roots,
            root: pinned.envelope().to_vec(),
            next_roots,
            answer,
        }
    }

    /// Says so in the log when the CA is about to end.
    pub(crate) fn watch_authority(&self) {
        let Some(enrolment) = &self.enrolment else {
            return;
        };
        let left_ms = enrolment.authority.ends_ms().saturating_sub(self.now_ms());
        let days = left_ms / DAY_MS;
        if left_ms == 0 {
            tracing::error!(
                "the CA of [enrolment] has ended: no device is let in or gets its next certificate, and none has one that is \
                 valid; make another CA, and let all devices enrol again"
            );
        } else if left_ms <= CA_SOON_MS.max(2 * enrolment.certificate_ttl_ms) {
            tracing::warn!(
                days,
                "the CA of [enrolment] ends soon, and with it every certificate that is made; make another CA, and let all \
                 devices enrol again before"
            );
        }
    }

    /// The token that one of these keys is of. Nobody learns whether it was removed or never there.
    async fn token_of(&self, signers: &[KeyId]) -> Result<EnrolmentTokenRow, HubError> {
        for signer in signers.iter().take(2) {
            if let Some(token) = self.database.enrolment_token(&signer.to_string()).await? {
                return Ok(token);
            }
        }
        Err(HubError::Refused(
            "this hub knows no such enrolment token; ask for a new one".to_owned(),
        ))
    }

    /// Takes a device's wish for its next certificate.
    pub(super) async fn take_renewal(
        &self,
        device: &DeviceId,
        key: &PublicKey,
        payload: &[u8],
    ) -> Result<(), HubError> {
        let enrolment = self.issuing()?;
        let renewal = Renewal::open(payload, device, key).map_err(refused)?;
        refuse_reserved(enrolment, device)?;
        let now_ms = self.now_ms();
        let csr = Digest::of(&renewal.csr).to_string();
        if let Some((answer, expires_ms)) = self.database.certificate_for(device, &csr).await? {
            if answer.is_empty() || now_ms > unsigned(expires_ms) {
                return Err(HubError::Refused("renewal: it is an old one, repeated".to_owned()));
            }
            let answer = hex::decode(&answer).map_err(|error| HubError::Internal(error.to_string()))?;
            self.send(device, Down::Certificate, answer).await;
            return Ok(());
        }
        let last_ms = unsigned(self.database.last_certificate_ms(device).await?);
        let rest_ms = RENEWAL_REST_MS.min(enrolment.certificate_ttl_ms / 10);
        if now_ms.saturating_sub(last_ms) < rest_ms {
            return Err(HubError::Refused(
                "renewal: the last certificate was made a moment ago".to_owned(),
            ));
        }
        let (answer, certificate) = self.certify(enrolment, device, &renewal.csr, now_ms)?;
        self.database.renew_certificate(&certificate, now_ms).await?;
        tracing::info!(%device, serial = certificate.serial, "renewed a certificate");
        self.send(device, Down::Certificate, answer).await;
        Ok(())
    }

    /// Makes a certificate and the signed answer that brings it.
    fn certify<'a>(
        &self,
        enrolment: &Enrolment,
        device: &'a DeviceId,
        csr: &[u8],
        now_ms: u64,
    ) -> Result<(Vec<u8>, NewCertificate<'a>), HubError> {
        let life_ms = enrolment.certificate_ttl_ms;
        let issued = enrolment
            .authority
            .issue(device, csr, now_ms, life_ms)
            .map_err(|error| match error {
                AuthorityError::Make(_) => HubError::Internal(error.to_string()),
                AuthorityError::Ended => HubError::Conflict(error.to_string()),
                _ => refused(error),
            })?;
        let answer = IssuedCertificate {
            fleet: self.root.fleet.clone(),
            device: device.clone(),
            csr: Digest::of(csr),
            chain: issued.chain.into_iter().map(ByteBuf::from).collect(),
            broker: enrolment.broker.clone(),
            broker_ca: enrolment.broker_ca.iter().cloned().map(ByteBuf::from).collect(),
            issued_ms: now_ms,
            critical: vec![],
        };
        let answer = answer.seal(self.signing_key()?).map_err(refused)?;
        let certificate = NewCertificate {
            serial: hex::encode(&issued.serial),
            device,
            csr: Digest::of(csr).to_string(),
            issued_ms: now_ms,
            expires_ms: issued.expires_ms,
            answer: hex::encode(&answer),
        };
        Ok((answer, certificate))
    }
}

/// The root that a token pins: the configured one, which this fleet's devices have, and from which a device is led on. The
/// newest where the chain begins behind it.
fn pinned(roots: &RootChain, configured: u64) -> &Verified<TrustRoot> {
    roots.version(configured).unwrap_or_else(|| roots.newest())
}

/// Checks what a token shall be; the device, where it is for one.
fn check_wish(wish: &TokenWish) -> Result<Option<DeviceId>, HubError> {
    if wish.valid_ms == 0 || wish.valid_ms > MAX_TOKEN_MS {
        return Err(HubError::Invalid(
            "a token is valid for a second at least and a year at most".to_owned(),
        ));
    }
    if !wish.pattern.contains('*') {
        let device = wish.pattern.parse::<DeviceId>();
        return device.map(Some).map_err(|error| HubError::Invalid(error.to_string()));
    }
    // What is left of an id beside the stars has its characters.
    let letters = wish.pattern.replace('*', "x");
    let fits = wish.pattern.len() <= MAX_PATTERN
        && letters
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !fits {
        let pattern = &wish.pattern;
        return Err(HubError::Invalid(format!(
            "{pattern:?} is no pattern of device ids: expected A-Z a-z 0-9 _ - and *"
        )));
    }
    if wish.replace {
        let problem = "a token that replaces a device's key is for one device; name it without *";
        return Err(HubError::Invalid(problem.to_owned()));
    }
    Ok(None)
}

fn check_request(token: &EnrolmentTokenRow, request: &EnrolmentRequest) -> Result<(), HubError> {
    if !matches(&token.pattern, request.device.as_str()) {
        return Err(HubError::Refused(format!(
            "the enrolment token is for {}, and this is {}",
            token.pattern, request.device
        )));
    }
    if !token.hardware.is_empty() && token.hardware != request.hardware.as_str() {
        return Err(HubError::Refused(format!(
            "the enrolment token is for devices of the hardware class {}, and {} says it is of {}",
            token.hardware, request.device, request.hardware
        )));
    }
    Ok(())
}

fn refuse_reserved(enrolment: &Enrolment, device: &DeviceId) -> Result<(), HubError> {
    if enrolment.reserved.iter().any(|name| name == device.as_str()) {
        return Err(HubError::Refused(format!(
            "{device} is the name of a hub or of somebody who watches, to whom the broker gives other rights; \
             give the device another id"
        )));
    }
    Ok(())
}

/// Whether a device's id fits a pattern, in which `*` stands for any characters, also none.
fn matches(pattern: &str, device: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = device.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut rest = Some(rest);
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            rest = rest.and_then(|rest| rest.find(before).and_then(|at| rest.get(at + before.len()..)));
        }
    }
    match (rest, last) {
        (Some(rest), Some(last)) => rest.ends_with(last),
        (Some(rest), None) => rest.is_empty(),
        (None, _) => false,
    }
}

fn token_key(token: &EnrolmentTokenRow) -> Result<PublicKey, HubError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(&token.public_key, &mut bytes)
        .ok()
        .and_then(|()| PublicKey::from_bytes(&bytes))
        .ok_or_else(|| HubError::Internal(format!("enrolment token {} can't be read", token.id)))
}

fn used(by: &str) -> HubError {
    HubError::Refused(format!(
        "the enrolment token has been used, by {by}, and is good for one time; ask for a new one"
    ))
}

fn refused(error: impl std::fmt::Display) -> HubError {
    HubError::Refused(error.to_string())
}

#[cfg(test)]
mod tests;
