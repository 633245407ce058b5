//! docs/protocol.md is enough to write a device from: one that was written from it in Python reads and writes the same
//! bytes as the Rust code.

use anyhow::{Result, ensure};
use floorhand_tests::{Hub, PATIENCE, Site, python, wait_for, workspace};
use std::process::Command;

const DEVICE: &str = "python-1";

#[test]
fn the_python_device_agrees_on_every_document() -> Result<()> {
    let Some(python) = python("import cbor2, cryptography, zstandard") else {
        return Ok(());
    };
    let output = Command::new(&python)
        .arg(workspace().join("tests/python/test_device.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn the_python_device_takes_a_bundle_from_a_hub() -> Result<()> {
    let Some(python) = python("import cbor2, cryptography, paho.mqtt, zstandard") else {
        return Ok(());
    };
    let site = Site::new()?;
    let hub = site.start_hub_alone()?;
    site.new_key(DEVICE)?;
    hub.fleet_ok(&["enroll", DEVICE, "--key", &site.text(&format!("{DEVICE}.pub"))])?;
    let port = hub.broker.rsplit(':').next().unwrap_or_default();
    let mut device = Command::new(python)
        .arg(workspace().join("tests/python/device.py"))
        .args(["--port", port, "--device", DEVICE, "--root", &site.text("root.cose")])
        .args(["--key", &site.text(&format!("{DEVICE}.key"))])
        .args(["--seconds", &PATIENCE.as_secs().to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let seen = deployed(&site, &hub);
    device.kill()?;
    device.wait()?;
    seen
}

/// Deploys a bundle; the device fetches and verifies it, and then says that it has nothing to run it with.
fn deployed(site: &Site, hub: &Hub) -> Result<()> {
    wait_for("hello of the Python device", PATIENCE, || {
        let shown = hub.fleet_ok(&["show", DEVICE])?;
        Ok(shown
            .pointer("/device/hello")
            .filter(|hello| !hello.is_null())
            .map(drop))
    })?;
    let packed = site.pack_fixture(1)?;
    let ended = hub.fleet(&["deploy", &packed.to_string_lossy(), "--device", DEVICE, "--wait"])?;
    ensure!(ended.code == Some(5), "it runs no model: {ended:?}");
    let shown = hub.fleet_ok(&["show", DEVICE])?;
    let assignment = shown.pointer("/assignments/0").unwrap_or(&shown);
    ensure!(
        assignment["status"] == "FAILED" && assignment["step"] == "staged",
        "{assignment:#}"
    );
    let told = hub.fleet_ok(&["report-now", DEVICE])?;
    ensure!(told.pointer("/outcome/done").is_some(), "{told:#}");
    Ok(())
}
