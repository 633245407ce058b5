//! `floorhand-agent import BUNDLE`: a bundle on a stick, with or without a running agent.

use crate::config::Config;
use crate::core::commands::inbox_path;
use floorhand_bundle::{Archive, SecretKey, TrustRoot};
use floorhand_protocol::Assignment;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Checks the bundle as the agent will, and leaves it where the agent looks when it starts.
pub(crate) fn leave_for_next_start(config: &Config, archive_path: &Path) -> Result<String, String> {
    let file = File::open(archive_path).map_err(|error| format!("{}: {error}", archive_path.display()))?;
    let archive = Archive::read(BufReader::new(file)).map_err(|error| error.to_string())?;
    check(config, &archive)?;
    std::fs::create_dir_all(&config.state_dir).map_err(|error| format!("{}: {error}", config.state_dir.display()))?;
    let inbox = inbox_path(&config.state_dir);
    write(&archive, &inbox, &config.state_dir).map_err(|error| format!("{}: {error}", inbox.display()))?;
    Ok("the bundle is verified; the agent takes it when it is started".to_owned())
}

/// Signatures, address and expiry, held against this machine's clock; the agent checks again with its own.
fn check(config: &Config, archive: &Archive) -> Result<(), String> {
    let (root, _) = load_trust(config)?;
    let Some(bytes) = &archive.assignment else {
        return Err("the archive has no assignment; make one with `floorhand fleet export DEVICE`".to_owned());
    };
    let now_ms = crate::clock::system_ms();
    Assignment::open(bytes, &root, &config.device, now_ms).map_err(|error| error.to_string())?;
    floorhand_bundle::Manifest::open(&archive.manifest, &root, now_ms).map_err(|error| error.to_string())?;
    Ok(())
}

/// Writes the archive under a name that nobody can have prepared, and gives it to whoever the state directory belongs to:
/// who carries the stick may be root, the agent isn't, and has to be able to read and remove the file.
fn write(archive: &Archive, inbox: &Path, state_dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let temporary = state_dir.join(format!("inbox.{:016x}.tmp", crate::random::u64()));
    // `create_new` follows no link and takes no file that is there: the directory is another user's than ours, perhaps.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = write_to(&mut file, archive, state_dir);
    if let Err(error) = written {
        drop(std::fs::remove_file(&temporary));
        return Err(error);
    }
    std::fs::rename(&temporary, inbox)?;
    Ok(())
}

fn write_to(file: &mut File, archive: &Archive, state_dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let owner = std::fs::metadata(state_dir)?;
    archive.write(&mut *file)?;
    file.sync_all()?;
    if owner.uid() != file.metadata()?.uid() {
        std::os::unix::fs::fchown(&*file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The trust root and the device's key that the configuration names.
pub(crate) fn load_trust(config: &Config) -> Result<(TrustRoot, SecretKey), String> {
    let root = config
        .read_trust_root()
        .map_err(|problem| format!("trust_root: {problem}"))?;
    let key = config
        .read_device_key()
        .map_err(|problem| format!("device_key: {problem}"))?;
    Ok((root.into_inner(), key))
}
