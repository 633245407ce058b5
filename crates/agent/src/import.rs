//! `floorhand-agent import BUNDLE`: a bundle on a stick, with or without a running agent.
//!
//! The command copies the archive into the state directory, and the agent takes it from there, at once or when it runs.
//! Neither holds more of a blob in memory than a piece. What this module is handed is copied, not believed: the core
//! verifies assignment and manifest before it lets anything in.

use crate::clock::monotonic_ms;
use crate::config::Config;
use crate::doctor;
use crate::notify::Heartbeat;
use crate::trust::Trust;
use floorhand_bundle::{
    Archive, ArchiveError, BlobRef, Component, ComponentName, MAX_ROOT_BYTES, SecretKey, TrustRoot, Verified,
};
use floorhand_protocol::Assignment;
use floorhand_store::{Blobs, PartialBlob, StoreError};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// What an archive waits in until the agent runs.
const INBOX: &str = "inbox.cose";
/// What the agent has taken out of the inbox, until it is in the store.
const TAKEN: &str = "inbox.taken";
/// What stands before and behind the 16 digits of an [`InboxFile`].
const AROUND: (&str, &str) = ("inbox.", ".tmp");
/// A file in the inbox that nobody has written to for this long is what a command that was cut short has left.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Read and written at once.
const PIECE_BYTES: usize = 64 * 1024;
/// While the disk is waited for, the core comes round this often.
const ROUND: Duration = Duration::from_secs(1);
/// A disk that takes longer over one blob is stuck, and the core with it.
const PATIENCE_MS: u64 = 300_000;

/// An archive in the state directory that the running agent is told of by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InboxFile(String);

impl InboxFile {
    fn new() -> Self {
        let (before, behind) = AROUND;
        Self(format!("{before}{:016x}{behind}", crate::random::u64()))
    }

    /// The file that a client names. `None` for a name that none has, such as one that leads out of the directory.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let digits = name.strip_prefix(AROUND.0)?.strip_suffix(AROUND.1)?;
        let fits = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| Self(name.to_owned()))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Where it lies.
    pub(crate) fn path(&self, state_dir: &Path) -> PathBuf {
        state_dir.join(&self.0)
    }
}

/// Where the agent looks when it starts, and now and then.
pub(crate) fn inbox_path(state_dir: &Path) -> PathBuf {
    state_dir.join(INBOX)
}

/// Takes what waits in the inbox out of it, under a name where no other import puts anything: one that is left meanwhile waits
/// for the next look. What was taken before a power cut comes first.
pub(crate) fn take_from_inbox(state_dir: &Path) -> io::Result<Option<PathBuf>> {
    let taken = state_dir.join(TAKEN);
    if taken.try_exists()? {
        return Ok(Some(taken));
    }
    let inbox = inbox_path(state_dir);
    // Of a file system that can only be read a rename is refused whether there is something or not.
    if !inbox.try_exists()? {
        return Ok(None);
    }
    fs::rename(inbox, &taken)?;
    Ok(Some(taken))
}

/// Removes what imports that were cut short have left.
pub(crate) fn sweep(state_dir: &Path) {
    let Ok(entries) = fs::read_dir(state_dir) else { return };
    for entry in entries.flatten() {
        let untouched = || entry.metadata().and_then(|found| found.modified()).ok()?.elapsed().ok();
        if InboxFile::parse(entry.file_name().as_encoded_bytes()).is_some()
            && untouched().is_some_and(|time| time > FORGOTTEN)
        {
            let path = entry.path();
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed what an import that was cut short has left"),
                Err(error) => tracing::warn!(%error, path = %path.display(), "can't be removed"),
            }
        }
    }
}

/// Checks the bundle as the agent will, and leaves it where the agent looks when it starts, and now and then: it may have
/// been starting when it was looked for.
pub(crate) fn leave_for_next_start(config: &Config, archive_path: &Path) -> Result<String, String> {
    let archive = File::open(archive_path).map_err(|error| format!("{}: {error}", archive_path.display()))?;
    check(config, &archive)?;
    let state_dir = &config.state_dir;
    fs::create_dir_all(state_dir).map_err(|error| format!("{}: {error}", state_dir.display()))?;
    leave(&archive, state_dir).map_err(|error| format!("{}: {error}", inbox_path(state_dir).display()))?;
    Ok("it is verified; the agent takes it when it runs".to_owned())
}

/// A trust root that stands in a file by itself; `None` for a file that is something else.
pub(crate) fn read_root(file: &File) -> Result<Option<Vec<u8>>, String> {
    // The tag of an envelope, which no archive begins with.
    const ENVELOPE: [u8; 2] = [0xd8, 0x62];
    let mut bytes = Vec::new();
    let mut beginning = file;
    let read = beginning
        .rewind()
        .and_then(|()| beginning.take(MAX_ROOT_BYTES as u64 + 3).read_to_end(&mut bytes))
        .and_then(|_| beginning.rewind());
    read.map_err(|error| error.to_string())?;
    Ok(bytes.starts_with(&ENVELOPE).then_some(bytes))
}

/// The version that a root says it has. Nothing is believed for it.
pub(crate) fn claimed_version(root: &[u8]) -> Option<u64> {
    TrustRoot::open_pinned(root).ok().map(|root| root.version)
}

/// Signatures, address and expiry, held against this machine's clock; the agent checks again with its own.
fn check(config: &Config, archive: &File) -> Result<(), String> {
    let mut trust = Trust::at_rest(config, doctor::taken_root(config)?)?;
    if let Some(root) = read_root(archive)? {
        return if trust.has(&root) {
            Ok(())
        } else {
            trust.open_next(&root).map(drop).map_err(|error| error.to_string())
        };
    }
    for root in Archive::read_roots(archive).map_err(|error| error.to_string())? {
        if claimed_version(&root).is_none_or(|version| version > trust.newest().version) {
            trust = trust.with(&root).map_err(|error| error.to_string())?;
        }
    }
    let root = trust.root()?;
    let documents = Archive::read_documents(archive).map_err(|error| error.to_string())?;
    let Some(bytes) = &documents.assignment else {
        return Err("the archive has no assignment; make one with `floorhand fleet export DEVICE`".to_owned());
    };
    let now_ms = crate::clock::system_ms();
    Assignment::open(bytes, root, &config.device, now_ms).map_err(|error| error.to_string())?;
    floorhand_bundle::Manifest::open(&documents.manifest, root, now_ms).map_err(|error| error.to_string())?;
    Archive::check_blobs(archive).map_err(|error| error.to_string())
}

fn leave(archive: &File, state_dir: &Path) -> io::Result<()> {
    let path = put_into_inbox(archive, state_dir)?.path(state_dir);
    File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&path, inbox_path(state_dir)))
        // Whoever carries the stick is told that it may be pulled.
        .and_then(|()| File::open(state_dir)?.sync_all())
        .inspect_err(|_| drop(fs::remove_file(&path)))
}

/// Copies an archive into the state directory, under a name that nobody can have prepared, and gives it to whoever the
/// directory belongs to: who carries the stick may be root, the agent isn't, and has to be able to read and remove it.
pub(crate) fn put_into_inbox(archive: &File, state_dir: &Path) -> io::Result<InboxFile> {
    let file = InboxFile::new();
    let path = file.path(state_dir);
    // `create_new` follows no link and takes no file that is there: the directory is another user's than ours, perhaps.
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    copy(archive, &mut to, state_dir).inspect_err(|_| drop(fs::remove_file(&path)))?;
    Ok(file)
}

fn copy(mut archive: &File, to: &mut File, state_dir: &Path) -> io::Result<()> {
    let length = archive.metadata()?.len();
    archive.rewind()?;
    io::copy(&mut archive.take(length), to)?;
    let owner = fs::metadata(state_dir)?;
    if owner.uid() != to.metadata()?.uid() {
        std::os::unix::fs::fchown(&*to, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The trust root and the device's key that the configuration names.
pub(crate) fn load_trust(config: &Config) -> Result<(Verified<TrustRoot>, SecretKey), String> {
    let root = config
        .read_trust_root()
        .map_err(|problem| format!("trust_root: {problem}"))?;
    let key = config
        .read_device_key()
        .map_err(|problem| format!("device_key: {problem}"))?;
    Ok((root, key))
}

/// Why what is in an archive isn't in the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The archive can't be read, or is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store has no room, or can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk can't be waited for.
    #[error("the disk can't be waited for: {0}")]
    Wait(#[from] io::Error),
    /// A component isn't there.
    #[error("the archive lacks {0}; export it again")]
    Lacks(ComponentName),
}

/// Copies the components of a verified manifest from an archive to the store, as far as they aren't whole there; what
/// else the archive has is passed over.
pub(crate) fn unpack(
    archive: &File,
    components: &[Component],
    blobs: &Blobs,
    heartbeat: &Heartbeat,
) -> Result<(), UnpackError> {
    let mut wanted = BTreeMap::new();
    for component in components {
        let (store, digest, length) = (blobs.clone(), component.blob.sha256, component.blob.length);
        if !wait_for(heartbeat, move || store.verify(digest, length))?? {
            wanted.insert(digest, component);
        }
    }
    Archive::stream_blobs::<UnpackError>(archive, |digest, length, content| match wanted.remove(&digest) {
        Some(component) => unpack_blob(&component.blob, length, content, blobs, heartbeat),
        None => Ok(()),
    })?;
    match wanted.into_values().next() {
        Some(component) => Err(UnpackError::Lacks(component.name.clone())),
        None => Ok(()),
    }
}

fn unpack_blob(
    blob: &BlobRef,
    length: u64,
    content: &mut dyn Read,
    blobs: &Blobs,
    heartbeat: &Heartbeat,
) -> Result<(), UnpackError> {
    let digest = blob.sha256;
    if length != blob.length {
        let (expected, actual) = (blob.length, length);
        return Err(StoreError::BlobLength {
            digest,
            expected,
            actual,
        }
        .into());
    }
    let Some(mut partial) = blobs.begin(digest, length)? else {
        return Ok(());
    };
    if let Err(error) = write_pieces(content, &mut partial, heartbeat) {
        // Of an archive that can't be read, nothing is to be gone on from.
        drop(partial.discard());
        return Err(error);
    }
    wait_for(heartbeat, move || partial.finish())?.map_err(|error| match error {
        StoreError::BlobCorrupt { digest, actual, .. } => {
            let expected = digest;
            ArchiveError::Blob { expected, actual }.into()
        }
        other => other.into(),
    })
}

/// Leaves zeros where the content ends early, for the digest to tell.
fn write_pieces(content: &mut dyn Read, partial: &mut PartialBlob, heartbeat: &Heartbeat) -> Result<(), UnpackError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let read = content.read(&mut piece).map_err(ArchiveError::from)?;
        if read == 0 {
            return Ok(());
        }
        partial.write_at(offset, piece.get(..read).unwrap_or_default())?;
        offset += read as u64;
        heartbeat.beat(monotonic_ms());
    }
}

/// Does what waits for the disk on a thread of its own, and comes round meanwhile: a card that takes a minute to make a
/// large model durable is slow, and no reason for the service manager to end the agent.
fn wait_for<T: Send + 'static>(heartbeat: &Heartbeat, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("import".to_owned())
        .spawn(move || drop(done.send(work())))?;
    let begun_ms = monotonic_ms();
    loop {
        match ended.recv_timeout(ROUND) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its thread has ended")),
            Err(RecvTimeoutError::Timeout) => {
                let now_ms = monotonic_ms();
                if now_ms.saturating_sub(begun_ms) < PATIENCE_MS {
                    heartbeat.beat(now_ms);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::{ComponentRole, Digest};
    use floorhand_store::{Store, StoreOptions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    fn component(name: &str, content: &[u8]) -> Component {
        Component {
            name: name.parse().unwrap(),
            role: ComponentRole::Model,
            blob: BlobRef::of(content),
        }
    }

    /// An archive with these blobs, each under the name of the content before it.
    fn archive(blobs: &[(&[u8], &[u8])]) -> File {
        let blobs = blobs
            .iter()
            .map(|(named, content)| (Digest::of(named), content.to_vec()));
        let archive = Archive {
            manifest: b"signed".to_vec(),
            assignment: None,
            blobs: blobs.collect(),
        };
        let mut file = tempfile::tempfile().unwrap();
        archive.write(&mut file).unwrap();
        file
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            blob_budget_bytes: 1 << 20,
        };
        let store = Store::open(dir.path(), options).unwrap();
        (dir, store)
    }

    /// Unpacks; returns why not.
    fn check(file: &File, components: &[Component], store: &Store) -> Option<String> {
        let unpacked = unpack(file, components, store.blobs(), &Heartbeat::new("core", 0));
        unpacked.err().map(|error| error.to_string())
    }

    #[test]
    fn what_the_manifest_names_is_copied_and_nothing_else() {
        let (_dir, store) = store();
        let model: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let file = archive(&[(&model, &model), (b"plugin", b"plugin"), (b"stowaway", b"stowaway")]);
        let components = [component("model.onnx", &model), component("plugin.wasm", b"plugin")];
        assert_eq!(check(&file, &components, &store), None);
        let blobs = store.blobs();
        assert_eq!(blobs.read(Digest::of(&model), 1 << 20).unwrap(), model);
        assert_eq!(blobs.used_bytes().unwrap(), 200_006);

        assert_eq!(check(&archive(&[]), &components, &store), None, "all is there");
        fs::write(blobs.path(Digest::of(b"plugin")), b"PLUGIN").unwrap();
        assert_eq!(
            check(&archive(&[]), &components, &store),
            Some("the archive lacks plugin.wasm; export it again".to_owned())
        );
        assert_eq!(check(&file, &components, &store), None, "what was damaged is replaced");
        assert_eq!(blobs.read(Digest::of(b"plugin"), 6).unwrap(), b"plugin");
    }

    #[test]
    fn a_damaged_archive_leaves_nothing() {
        let (_dir, store) = store();
        let components = [component("model.onnx", b"model")];
        let refused = |file: &File| check(file, &components, &store).unwrap();
        assert!(refused(&archive(&[(b"model", b"MODEL")])).starts_with("bundle archive is damaged: blob "));
        assert!(refused(&archive(&[(b"model", b"models")])).ends_with(" has 6 bytes, expected 5"));
        let cut = archive(&[(b"model", b"model")]);
        // Header and block of the manifest, header of the blob.
        cut.set_len(3 * 512 + 2).unwrap();
        assert!(refused(&cut).starts_with("bundle archive is damaged: blob "));
        assert_eq!(store.blobs().used_bytes().unwrap(), 0);
    }

    #[test]
    fn an_archive_is_put_where_its_name_leads_back_to() {
        let dir = tempfile::tempdir().unwrap();
        let from = archive(&[(b"model", b"model")]);
        let file = put_into_inbox(&from, dir.path()).unwrap();
        assert_eq!(InboxFile::parse(file.name().as_bytes()), Some(file.clone()));
        let path = file.path(dir.path());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.permissions().mode() & 0o777, metadata.len()),
            (0o600, from.metadata().unwrap().len())
        );
        sweep(dir.path());
        assert!(path.exists(), "somebody is writing it");
        let long_ago = SystemTime::now() - 2 * FORGOTTEN;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        sweep(dir.path());
        assert!(!path.exists());

        leave(&from, dir.path()).unwrap();
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing but what the agent takes"
        );
        assert!(inbox_path(dir.path()).exists());
    }

    #[test]
    fn what_is_left_while_another_is_taken_waits_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(take_from_inbox(dir.path()).unwrap(), None);
        leave(&archive(&[(b"first", b"first")]), dir.path()).unwrap();
        let first = take_from_inbox(dir.path()).unwrap().unwrap();
        let content = fs::read(&first).unwrap();
        leave(&archive(&[(b"second", b"second, which is longer")]), dir.path()).unwrap();
        assert_eq!(
            take_from_inbox(dir.path()).unwrap(),
            Some(first.clone()),
            "as after a power cut"
        );
        assert_eq!(fs::read(&first).unwrap(), content);
        sweep(dir.path());
        fs::remove_file(&first).unwrap();
        let second = take_from_inbox(dir.path()).unwrap().unwrap();
        assert_ne!(fs::read(&second).unwrap(), content);
        fs::remove_file(&second).unwrap();
        assert_eq!(take_from_inbox(dir.path()).unwrap(), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for wrong in [
            "",
            "inbox.cose",
            "state",
            "inbox.0123456789abcdef.tmp/../state",
            "inbox.../../x/y/z/w/v.tmp",
            "inbox.0123456789abcde.tmp",
            "inbox.0123456789abcdeg.tmp",
        ] {
            assert_eq!(InboxFile::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert!(InboxFile::parse(b"inbox.0123456789abcdef.tmp").is_some());
        assert_eq!(InboxFile::parse(&[0xff]), None);
    }

    #[test]
    fn what_waits_for_the_disk_has_an_end() {
        let heartbeat = Heartbeat::new("core", 0);
        assert_eq!(wait_for(&heartbeat, || 7).unwrap(), 7);
        let ended = wait_for(&heartbeat, || -> u32 { std::panic::resume_unwind(Box::new(())) });
        assert_eq!(ended.unwrap_err().to_string(), "its thread has ended");
    }
}
