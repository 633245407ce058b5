//! Devices in: one key is one device's, and a device's key is replaced by nobody who hasn't said so.

use super::{Hub, HubError};
use crate::database::Registered;
use floorhand_bundle::{DeviceId, PublicKey};

/// What enrolling a device has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enrolled {
    /// The device wasn't known.
    New,
    /// Nothing: it was known by this very key.
    Known,
    /// It was known by another key.
    Replaced,
}

impl Enrolled {
    /// The word that the API has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Replaced => "replaced",
        }
    }
}

impl Hub {
    /// Makes a device known by its key. The same key again changes nothing; another one takes the place of a known
    /// device's only where that is what `replace` says.
    pub(crate) async fn enroll(&self, device: &DeviceId, key: &PublicKey, replace: bool) -> Result<Enrolled, HubError> {
        let public_key = hex::encode(key.as_bytes());
        let registered = self.database.register(device, &public_key, replace, self.now_ms());
        enrolled(device, key, registered.await?)
    }
}

/// What a registration has come to, in the API's words.
pub(super) fn enrolled(device: &DeviceId, key: &PublicKey, registered: Registered) -> Result<Enrolled, HubError> {
    match registered {
        Registered::New => Ok(Enrolled::New),
        Registered::Known => Ok(Enrolled::Known),
        Registered::Replaced => Ok(Enrolled::Replaced),
        Registered::OtherKey(known) => Err(HubError::Conflict(format!(
            "device {device} is known by another key, {}; to put this one, {}, in its place, say --replace \
                 (in the API: \"replace\": true)",
            key_id(&known),
            key.id()
        ))),
        Registered::KeyOf(other) => Err(HubError::Conflict(format!(
            "key {} is that of device {other}: each device needs a key of its own; make another one on {device} \
                 with `floorhand keys new --no-passphrase`",
            key.id()
        ))),
    }
}

/// The id of a key as it is stored.
fn key_id(public_key: &str) -> String {
    let mut bytes = [0; 32];
    hex::decode_to_slice(public_key, &mut bytes)
        .ok()
        .and_then(|()| PublicKey::from_bytes(&bytes))
        .map_or_else(|| "which can't be read".to_owned(), |key| key.id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hub, key};

    #[tokio::test]
    async fn a_key_is_replaced_only_when_that_was_said() {
        let (_dir, hub, _sent) = hub().await;
        let (first, second): (DeviceId, DeviceId) = ("press-1".parse().unwrap(), "press-2".parse().unwrap());
        let (old, new) = (key(8).public(), key(9).public());
        assert_eq!(hub.enroll(&first, &old, false).await.unwrap(), Enrolled::New);
        assert_eq!(hub.enroll(&first, &old, false).await.unwrap(), Enrolled::Known);
        let refused = hub.enroll(&first, &new, false).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, HubError::Conflict(_))
                && text.contains("--replace")
                && text.contains(&old.id().to_string()),
            "{text}"
        );
        assert_eq!(hub.enroll(&first, &new, true).await.unwrap(), Enrolled::Replaced);
        let refused = hub.enroll(&second, &new, true).await.unwrap_err().to_string();
        assert!(refused.contains("is that of device press-1"), "{refused}");
    }
}
