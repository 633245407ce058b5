//! PKCS #11 modules and the tokens behind them, up to a session that is logged in.

use crate::error::KeysError;
use crate::location::Keyring;
use crate::unlock::read_secret_file;
use crate::uri::TokenUri;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Modules are loaded once and stay until the process ends: one that is unloaded takes its threads' code away.
static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// The token that a URI means.
#[derive(Clone)]
pub(crate) struct Token {
    module: Pkcs11,
    slot: Slot,
    /// Its label, for messages.
    pub(crate) label: String,
    info: TokenInfo,
}

impl Token {
    /// Loads the module and finds the token.
    pub(crate) fn find(uri: &TokenUri, keyring: &Keyring<'_>) -> Result<Self, KeysError> {
        let path = uri.module_path.as_deref().or(keyring.module);
        let path = path.ok_or_else(|| KeysError::NoModule {
            uri: Box::new(uri.clone()),
            otherwise: ", or with --pkcs11-module where there is such an option",
        })?;
        let unusable = |error: Error| KeysError::Module {
            path: path.to_owned(),
            problem: told(&error),
        };
        let module = load(path).map_err(unusable)?;
        let mut tokens = Vec::new();
        for slot in module.get_slots_with_token().map_err(unusable)? {
            let info = module.get_token_info(slot).map_err(unusable)?;
            if info.token_initialized() {
                tokens.push((slot, info));
            }
        }
        let mut labels: Vec<String> = tokens.iter().map(|(_, info)| format!("{:?}", info.label())).collect();
        labels.sort();
        tokens.retain(|(slot, info)| means(uri, *slot, info));
        let found = tokens.len();
        match tokens.pop() {
            Some((slot, info)) if found == 1 => Ok(Self {
                module,
                slot,
                label: info.label().to_owned(),
                info,
            }),
            _ => Err(KeysError::WhichToken {
                uri: Box::new(uri.clone()),
                found,
                there: if labels.is_empty() {
                    "none".to_owned()
                } else {
                    labels.join(", ")
                },
            }),
        }
    }

    /// The PIN, from the file that the URI names or from whoever unlocks; `None` where the token asks for it itself, or
    /// for none.
    pub(crate) fn pin(&self, uri: &TokenUri, keyring: &Keyring<'_>) -> Result<Option<SecretString>, KeysError> {
        if !self.info.login_required() || self.info.protected_authentication_path() {
            return Ok(None);
        }
        match &uri.pin_source {
            Some(path) => read_secret_file(path).map(Some),
            None => keyring.unlock.pin(&self.label).map(Some),
        }
    }

    /// A session that may use the token's keys, and make some if it is to `write`.
    pub(crate) fn session(&self, pin: Option<&SecretString>, write: bool) -> Result<Session, KeysError> {
        let opened = if write {
            self.module.open_rw_session(self.slot)
        } else {
            self.module.open_ro_session(self.slot)
        };
        let session = opened.map_err(|error| self.failed("open a session", &error))?;
        let state = session.get_session_info().map(|info| info.session_state());
        let state = state.map_err(|error| self.failed("tell a session's state", &error))?;
        let is_in = matches!(state, SessionState::RoUser | SessionState::RwUser);
        if self.info.login_required() && !is_in {
            self.log_in(&session, pin)?;
        }
        Ok(session)
    }

    /// Logs in, for all sessions of this process.
    fn log_in(&self, session: &Session, pin: Option<&SecretString>) -> Result<(), KeysError> {
        let token = self.label.clone();
        match session.login(UserType::User, pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(KeysError::PinLocked { token }),
            // A PIN that is too short or too long for the token isn't its PIN either, and some say so like this.
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
                let warning = self.warning();
                Err(KeysError::WrongPin { token, warning })
            }
            Err(error) => Err(self.failed("log in", &error)),
        }
    }

    /// What the token says of its PIN after a wrong one.
    fn warning(&self) -> &'static str {
        match self.module.get_token_info(self.slot) {
            Ok(info) if info.user_pin_locked() => "; it is locked now",
            Ok(info) if info.user_pin_final_try() => "; one more wrong one locks it",
            _ => "; it locks itself after some wrong ones",
        }
    }

    pub(crate) fn failed(&self, action: &'static str, error: &Error) -> KeysError {
        KeysError::Token {
            token: self.label.clone(),
            action,
            problem: told(error),
        }
    }
}

fn means(uri: &TokenUri, slot: Slot, info: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    fits(&uri.token, info.label())
        && fits(&uri.manufacturer, info.manufacturer_id())
        && fits(&uri.model, info.model())
        && fits(&uri.serial, info.serial_number())
        && uri.slot_id.is_none_or(|wanted| wanted == slot.id())
}

fn load(path: &Path) -> Result<Pkcs11, Error> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The same module under another name.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error),
    }
    loaded.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// The name of what a module answered. The standard's own sentence on it is a paragraph.
pub(crate) fn told(error: &Error) -> String {
    match error {
        Error::Pkcs11(answer, function) => format!("{function} answered {answer:?}"),
        other => other.to_string(),
    }
}
