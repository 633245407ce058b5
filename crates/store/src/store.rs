//! A state directory as a whole: its lock, its format version, and the way to its parts.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::ballast::Ballast;
use crate::blobs::{Blobs, make_sealed_dirs};
use crate::disk::{Disk, RealDisk, ensure_dirs, replace, sync_parent};
use crate::error::{At as _, StoreError};
use crate::generations::Generations;
use crate::roots::Roots;
use crate::state::StateFile;
use crate::vault::{SEALED, StorageKeys, Vault, data_key_path};

/// The newest version of the directory's layout. It rises when an older program would misread a newer directory.
pub const FORMAT_VERSION: u32 = 2;
/// Content as it is.
const FORMAT_PLAIN: u32 = 1;
/// Content in sealed files, which versions that know only the first format don't look for.
const FORMAT_SEALED: u32 = 2;

/// What a state directory may take.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Most bytes that blobs may take together, those being fetched too.
    pub blob_budget_bytes: u64,
}

/// An open state directory. It stays locked against other processes until this is dropped.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
    generations: Generations,
    roots: Roots,
    state: StateFile,
    vault: Option<Vault>,
    _lock: File,
}

impl Store {
    /// Opens the directory, making it when it isn't there.
    ///
    /// # Errors
    /// When another process has it, when a newer version wrote it, or when the system refuses.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealDisk), root, options)
    }

    /// [`Store::open`] with every durable step going through `disk`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(disk, root, options, None)
    }

    /// Opens the directory with its content sealed: blobs, and what is sealed with [`Store::vault`]. What lies there
    /// unsealed is sealed now. From then on the directory opens with its key alone.
    ///
    /// # Errors
    /// As [`Store::open`], and when it is sealed under another key.
    pub fn open_sealed(root: &Path, options: StoreOptions, keys: &StorageKeys) -> Result<Self, StoreError> {
        Self::open_sealed_on(Arc::new(RealDisk), root, options, keys)
    }

    /// [`Store::open_sealed`] with every durable step going through `disk`.
    ///
    /// # Errors
    /// As [`Store::open_sealed`].
    pub fn open_sealed_on(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: StoreOptions,
        keys: &StorageKeys,
    ) -> Result<Self, StoreError> {
        Self::open_with(disk, root, options, Some(keys))
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: StoreOptions,
        keys: Option<&StorageKeys>,
    ) -> Result<Self, StoreError> {
        let is_new = !root.is_dir();
        disk.create_dir(root).at("create directory", root)?;
        if is_new {
            // Its own name has to last too, or everything in it goes with it.
            sync_parent(disk.as_ref(), root)?;
        }
        keep_private(root)?;
        let lock = lock(root)?;
        let format = check_format(disk.as_ref(), root)?;
        if keys.is_none() && (format == FORMAT_SEALED || data_key_path(root).exists()) {
            return Err(StoreError::KeyMissing { path: root.to_owned() });
        }
        let parts = ["blobs", "partial", "gens"].map(|name| root.join(name));
        ensure_dirs(disk.as_ref(), &parts.each_ref().map(PathBuf::as_path), root)?;
        let mut blobs = Blobs::open(Arc::clone(&disk), root, options.blob_budget_bytes)?;
        let vault = keys.map(|keys| vault(disk.as_ref(), root, format, keys)).transpose()?;
        if let Some(vault) = &vault {
            blobs = blobs.sealed(&root.join(SEALED), vault.clone())?;
        }
        let generations = Generations::open(Arc::clone(&disk), root)?;
        let roots = Roots::new(Arc::clone(&disk), root);
        let state = StateFile::new(disk, root.join("state"));
        Ok(Self {
            root: root.to_owned(),
            blobs,
            generations,
            roots,
            state,
            vault,
            _lock: lock,
        })
    }

    /// Content by digest.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Manifests and assignments by generation.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Trust roots that came after the pinned one.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The state record.
    #[must_use]
    pub fn state(&self) -> &StateFile {
        &self.state
    }

    /// Seals and opens what else is kept, where the directory's content is sealed.
    #[must_use]
    pub fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }

    /// Where the spool lies, for [`Spool::open`](crate::Spool::open).
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        self.root.join("spool.redb")
    }

    /// Room for when there is none left.
    #[must_use]
    pub fn ballast(&self) -> Ballast {
        Ballast::new(&self.root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// A directory that an administrator made may be open to others; what lies in it isn't for them.
fn keep_private(root: &Path) -> Result<(), StoreError> {
    let mode = fs::metadata(root).at("look at", root)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).at("close to others", root)
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = match opened {
        // What is on a disk that can't be written any more can be served.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
        opened => opened,
    };
    let file = file.at("open", &path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StoreError::Locked { path: root.to_owned() }),
        Err(error) => Err(StoreError::Io {
            operation: "lock",
            path,
            source: error.into(),
        }),
    }
}

/// The directory's data key; from now on its format says that its content is sealed. Whatever else could fail comes before
/// the key is drawn: without it, the directory still opens as it was.
fn vault(disk: &dyn Disk, root: &Path, format: u32, keys: &StorageKeys) -> Result<Vault, StoreError> {
    make_sealed_dirs(disk, &root.join(SEALED), root)?;
    let vault = Vault::open(disk, &data_key_path(root), keys)?;
    if format != FORMAT_SEALED
        && let Err(error) = write_format(disk, root, FORMAT_SEALED)
    {
        tracing::error!(%error, "it is not noted that the directory is encrypted; it is tried again at the next start");
    }
    Ok(vault)
}

fn write_format(disk: &dyn Disk, root: &Path, format: u32) -> Result<(), StoreError> {
    replace(disk, &root.join("format"), format!("{format}\n").as_bytes())
}

fn check_format(disk: &dyn Disk, root: &Path) -> Result<u32, StoreError> {
    let path = root.join("format");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_format(disk, root, FORMAT_PLAIN).map(|()| FORMAT_PLAIN);
        }
        read => read.at("read", &path)?,
    };
    let text: String = String::from_utf8_lossy(&text).chars().take(32).collect();
    match text.trim().parse::<u32>() {
        Ok(found) if (1..=FORMAT_VERSION).contains(&found) => Ok(found),
        Ok(found) if found > FORMAT_VERSION => Err(StoreError::NewerFormat {
            path: root.to_owned(),
            found,
            supported: FORMAT_VERSION,
        }),
        _ => Err(StoreError::BadFormat { path, found: text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::StorageKey;
    use floorhand_bundle::Digest;

    const OPTIONS: StoreOptions = StoreOptions {
        blob_budget_bytes: 1 << 20,
    };

    #[test]
    fn makes_a_private_directory_and_opens_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        drop(Store::open(&root, OPTIONS).unwrap());
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        drop(Store::open(&root, OPTIONS).unwrap());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), "1\n");
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), OPTIONS).unwrap();
        let message = Store::open(dir.path(), OPTIONS).unwrap_err().to_string();
        assert!(message.contains("in use by another process"), "{message}");
        drop(first);
        Store::open(dir.path(), OPTIONS).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "7\n").unwrap();
        let message = Store::open(dir.path(), OPTIONS).unwrap_err().to_string();
        assert!(
            message.contains("has format 7 and this version knows up to 2"),
            "{message}"
        );
        for broken in ["", "0", "one", "1 2"] {
            fs::write(dir.path().join("format"), broken).unwrap();
            assert!(
                matches!(Store::open(dir.path(), OPTIONS), Err(StoreError::BadFormat { .. })),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn a_sealed_directory_opens_with_its_key_alone() {
        let key = |seed| StorageKeys {
            current: StorageKey::from_bytes([seed; 32]),
            before: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let plain = Store::open(dir.path(), OPTIONS).unwrap();
        let digest = plain.blobs().put(b"weights").unwrap();
        let unfinished = plain.blobs().begin(Digest::of(b"more"), 4).unwrap();
        drop((unfinished, plain));
        let sealed = Store::open_sealed(dir.path(), OPTIONS, &key(1)).unwrap();
        assert_eq!(sealed.blobs().read(digest, 7).unwrap(), b"weights");
        assert_eq!(sealed.blobs().list().unwrap(), vec![(digest, 7)]);
        for plain in ["blobs/sha256", "partial"] {
            assert_eq!(fs::read_dir(dir.path().join(plain)).unwrap().count(), 0, "{plain}");
        }
        drop(sealed);
        let message = Store::open(dir.path(), OPTIONS).unwrap_err().to_string();
        assert!(message.contains("give its key in `store.encryption_key`"), "{message}");
        let message = Store::open_sealed(dir.path(), OPTIONS, &key(2))
            .unwrap_err()
            .to_string();
        assert!(message.contains("doesn't open with the key"), "{message}");
        let sealed = Store::open_sealed(dir.path(), OPTIONS, &key(1)).unwrap();
        assert_eq!(sealed.blobs().read(digest, 7).unwrap(), b"weights");
        assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "2\n");
    }
}
