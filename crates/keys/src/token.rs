//! Ed25519 keys in tokens: finding them, making them, signing with them (CKM_EDDSA without parameters: Ed25519 over the
//! message itself).

use crate::error::KeysError;
use crate::location::Keyring;
use crate::module::{Token, told};
use crate::uri::TokenUri;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use floorhand_bundle::{PublicKey, SignError, Signer};
use secrecy::SecretString;
use std::sync::{Mutex, PoisonError};

/// The curve as DER: the name that version 3.0 of the standard began with, which SoftHSM knows, and the object
/// identifier of RFC 8410, which newer tokens want.
const CURVES: [&[u8]; 2] = [b"\x13\x0cedwards25519", b"\x06\x03\x2b\x65\x70"];

/// Longer than a token's label for an object: what doesn't fit is cut off in a list.
const MAX_LISTED: usize = 32;

/// A key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Its label.
    pub label: String,
    /// Its id in the token, which is not its key id.
    pub id: Vec<u8>,
    /// Its public half, where the token has that too.
    pub public: Option<PublicKey>,
    /// What names it and no other.
    pub uri: TokenUri,
}

/// A key in a token, ready to sign.
///
/// One session signs at a time. When a signature fails, it logs in anew once, since a token may have been pulled out and
/// put back; never again with a PIN that was refused, which would lock the token.
pub struct TokenSigner {
    token: Token,
    uri: TokenUri,
    public: PublicKey,
    state: Mutex<State>,
}

struct State {
    session: Option<(Session, ObjectHandle)>,
    pin: Option<SecretString>,
    /// Why it will not log in any more.
    refused: Option<String>,
}

/// Opens the key that a URI means.
pub(crate) fn open(uri: &TokenUri, keyring: &Keyring<'_>) -> Result<TokenSigner, KeysError> {
    let token = Token::find(uri, keyring)?;
    let pin = token.pin(uri, keyring)?;
    let session = token.session(pin.as_ref(), false)?;
    let (handle, key) = only(&token, &session, uri)?;
    let public = key.public.ok_or_else(|| KeysError::Token {
        token: token.label.clone(),
        action: "say what the public half of the key is",
        problem: format!(
            "it has no public key object {:?} with the same id; put one there",
            key.label
        ),
    })?;
    let state = State {
        session: Some((session, handle)),
        pin,
        refused: None,
    };
    Ok(TokenSigner {
        token,
        uri: uri.clone(),
        public,
        state: Mutex::new(state),
    })
}

/// The keys that a URI means.
pub(crate) fn list(uri: &TokenUri, keyring: &Keyring<'_>) -> Result<Vec<TokenKey>, KeysError> {
    let token = Token::find(uri, keyring)?;
    let session = token.session(token.pin(uri, keyring)?.as_ref(), false)?;
    let found = find(&token, &session, uri)?;
    Ok(found.into_iter().map(|(_, key)| key).collect())
}

/// Makes a key pair with this label.
pub(crate) fn generate(uri: &TokenUri, label: &str, keyring: &Keyring<'_>) -> Result<TokenKey, KeysError> {
    let token = Token::find(uri, keyring)?;
    let session = token.session(token.pin(uri, keyring)?.as_ref(), true)?;
    let failed = |error: Error| token.failed("make an Ed25519 key", &error);
    let named = Attribute::Label(label.as_bytes().to_vec());
    if !session
        .find_objects(std::slice::from_ref(&named))
        .map_err(failed)?
        .is_empty()
    {
        return Err(KeysError::Exists {
            token: token.label.clone(),
            object: label.to_owned(),
        });
    }
    let id = match &uri.id {
        Some(id) => id.clone(),
        None => session.generate_random_vec(8).map_err(failed)?,
    };
    let common = [named, Attribute::Id(id.clone()), Attribute::Token(true)];
    let mut made = Err(Error::NotSupported);
    for curve in CURVES {
        made = generate_pair(&session, &common, curve);
        if made.is_ok() {
            break;
        }
    }
    made.map_err(failed)?;
    let wanted = TokenUri {
        object: Some(label.to_owned()),
        id: Some(id),
        ..uri.clone()
    };
    only(&token, &session, &wanted).map(|(_, key)| key)
}

fn generate_pair(session: &Session, common: &[Attribute], curve: &[u8]) -> Result<(), Error> {
    let public = [
        Attribute::Verify(true),
        Attribute::Private(false),
        Attribute::EcParams(curve.to_vec()),
    ];
    let secret = [
        Attribute::Sign(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ];
    let (public, secret) = ([common, &public].concat(), [common, &secret].concat());
    let made = session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &secret);
    made.map(drop)
}

/// The one key that a URI means.
fn only(token: &Token, session: &Session, uri: &TokenUri) -> Result<(ObjectHandle, TokenKey), KeysError> {
    let mut found = find(token, session, uri)?;
    let count = found.len();
    match found.pop() {
        Some(key) if count == 1 => Ok(key),
        _ => {
            let all = TokenUri {
                object: None,
                id: None,
                ..uri.clone()
            };
            let there: Vec<String> = find(token, session, &all)?
                .iter()
                .take(MAX_LISTED)
                .map(|(_, key)| format!("{:?} (id {})", key.label, hex::encode(&key.id)))
                .collect();
            Err(KeysError::WhichKey {
                uri: Box::new(uri.clone()),
                token: token.label.clone(),
                found: count,
                there: if there.is_empty() {
                    "none".to_owned()
                } else {
                    there.join(", ")
                },
            })
        }
    }
}

/// The secret Ed25519 keys that a URI means.
fn find(token: &Token, session: &Session, uri: &TokenUri) -> Result<Vec<(ObjectHandle, TokenKey)>, KeysError> {
    let failed = |error: Error| token.failed("list its keys", &error);
    let mut template = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC_EDWARDS),
    ];
    template.extend(
        uri.object
            .as_ref()
            .map(|object| Attribute::Label(object.as_bytes().to_vec())),
    );
    template.extend(uri.id.clone().map(Attribute::Id));
    let mut keys = Vec::new();
    for handle in session.find_objects(&template).map_err(failed)? {
        let (label, id) = names(session, handle).map_err(failed)?;
        let public = public_of(session, &label, &id).map_err(failed)?;
        let uri = TokenUri {
            token: Some(token.label.clone()),
            object: Some(label.clone()),
            id: (!id.is_empty()).then(|| id.clone()),
            ..TokenUri::default()
        };
        keys.push((handle, TokenKey { label, id, public, uri }));
    }
    keys.sort_by(|(_, one), (_, other)| (&one.label, &one.id).cmp(&(&other.label, &other.id)));
    Ok(keys)
}

fn names(session: &Session, handle: ObjectHandle) -> Result<(String, Vec<u8>), Error> {
    let (mut label, mut id) = (String::new(), Vec::new());
    for attribute in session.get_attributes(handle, &[AttributeType::Label, AttributeType::Id])? {
        match attribute {
            Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
            Attribute::Id(bytes) => id = bytes,
            _ => {}
        }
    }
    Ok((label, id))
}

/// The public half: the object with the same id, or with the same label where there is no id.
fn public_of(session: &Session, label: &str, id: &[u8]) -> Result<Option<PublicKey>, Error> {
    let same = if id.is_empty() {
        Attribute::Label(label.as_bytes().to_vec())
    } else {
        Attribute::Id(id.to_vec())
    };
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC_EDWARDS),
        same,
    ];
    for handle in session.find_objects(&template)? {
        for attribute in session.get_attributes(handle, &[AttributeType::EcPoint])? {
            if let Attribute::EcPoint(point) = attribute
                && let Some(public) = public_of_point(&point)
            {
                return Ok(Some(public));
            }
        }
    }
    Ok(None)
}

/// CKA_EC_POINT: the 32 bytes of RFC 8032 in a DER OCTET STRING, or, from some tokens, alone.
fn public_of_point(point: &[u8]) -> Option<PublicKey> {
    let bytes = point
        .strip_prefix(&[0x04, 0x20])
        .filter(|rest| rest.len() == 32)
        .unwrap_or(point);
    PublicKey::from_bytes(bytes.try_into().ok()?)
}

impl TokenSigner {
    /// Signs, in a new session if need be.
    fn signature(&self, state: &mut State, message: &[u8]) -> Result<Vec<u8>, String> {
        if let Some((session, handle)) = &state.session
            && let Ok(signature) = eddsa(session, *handle, message)
        {
            return Ok(signature);
        }
        let (session, handle) = self.again(state)?;
        let signature = eddsa(&session, handle, message).map_err(|error| told(&error))?;
        state.session = Some((session, handle));
        Ok(signature)
    }

    /// A new session in the place of one that didn't sign.
    fn again(&self, state: &mut State) -> Result<(Session, ObjectHandle), String> {
        if let Some(refused) = &state.refused {
            return Err(refused.clone());
        }
        state.session = None;
        let session = self.token.session(state.pin.as_ref(), false).map_err(|error| {
            if matches!(error, KeysError::WrongPin { .. } | KeysError::PinLocked { .. }) {
                state.pin = None;
                state.refused = Some(error.to_string());
            }
            error.to_string()
        })?;
        let found = only(&self.token, &session, &self.uri);
        let (handle, _) = found.map_err(|error| error.to_string())?;
        Ok((session, handle))
    }
}

fn eddsa(session: &Session, handle: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
    session.sign(&mechanism, handle, message)
}

impl Signer for TokenSigner {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |problem: String| SignError {
            key: self.public.id(),
            problem: format!("token {}: {problem}", self.token.label),
        };
        let signature = self.signature(&mut state, message).map_err(failed)?;
        // A token whose two halves don't belong together would give documents that every device refuses.
        if !self.public.verifies(message, &signature) {
            return Err(failed("its signature does not hold under its public key".to_owned()));
        }
        let length = signature.len();
        signature
            .try_into()
            .map_err(|_| failed(format!("its signature has {length} bytes instead of 64")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::SecretKey;

    #[test]
    fn a_point_comes_wrapped_or_alone() {
        let public = SecretKey::from_seed(&[1; 32]).public();
        let wrapped = [&[0x04, 0x20], &public.as_bytes()[..]].concat();
        assert_eq!(public_of_point(&wrapped), Some(public.clone()));
        assert_eq!(public_of_point(public.as_bytes()), Some(public.clone()));
        for wrong in [&wrapped[..33], &wrapped[1..], &[], &[4, 0x20]] {
            assert_eq!(public_of_point(wrong), None, "{wrong:?}");
        }
    }
}
