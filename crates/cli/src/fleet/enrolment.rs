//! Enrolment tokens: made, listed, taken back.

use super::client::{Hub, encoded};
use super::facts::{flag, items, number, text};
use crate::output::{Output, Tone};
use crate::time;
use anyhow::Result;
use clap::{ArgGroup, Args};
use floorhand_bundle::{DeviceId, HardwareClass};
use serde_json::json;

/// `floorhand fleet enroll-token`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["device", "pattern"])))]
pub(super) struct TokenArgs {
    /// The device that it is for
    #[arg(long)]
    device: Option<DeviceId>,
    /// Several devices, one of which can use it: an id in which `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only for devices that say they are of this hardware class
    #[arg(long, value_name = "CLASS")]
    hardware: Option<HardwareClass>,
    /// How long it is good for, as in 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration_s)]
    valid: u64,
    /// Let the device take the place of one that is known under its id by another key
    #[arg(long, requires = "device")]
    replace: bool,
}

/// Seconds of a text such as `24h`.
fn duration_s(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no time: expected a number and s, m, h or d, as in 24h");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(expected)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number
        .checked_mul(unit_s)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(expected)
}

/// Makes one.
pub(super) fn create(hub: &Hub, args: &TokenArgs, out: &Output) -> Result<()> {
    let device = args.device.as_ref().map(ToString::to_string);
    let body = json!({
        "devices": device.or_else(|| args.pattern.clone()),
        "hardware": args.hardware,
        "replace": args.replace,
        "valid_s": args.valid,
    });
    let token = hub.post("enrolment-tokens", &body)?;
    out.show(&token, |out| {
        out.line(&text(&token, "/token"))?;
        out.note(&format!(
            "good for one enrolment of {} until {}; on the device: floorhand-agent enroll --hub URL --token TOKEN",
            text(&token, "/devices"),
            number(&token, "/expires_ms").map_or_else(String::new, time::utc)
        ));
        Ok(())
    })
}

/// Lists them.
pub(super) fn list(hub: &Hub, out: &Output) -> Result<()> {
    let tokens = hub.get("enrolment-tokens")?;
    out.show(&tokens, |out| {
        let now_ms = time::now_ms();
        let mut table = out.table(&["token", "for", "hardware", "replaces", "state", "until"]);
        for token in items(&tokens) {
            let expires_ms = number(token, "/expires_ms").unwrap_or(0);
            let (state, tone) = match (text(token, "/used_by").as_str(), expires_ms < now_ms) {
                ("", true) => ("expired".to_owned(), Tone::Plain),
                ("", false) => ("open".to_owned(), Tone::Warn),
                (device, _) => (format!("used by {device}"), Tone::Good),
            };
            table.add_row(vec![
                text(token, "/id").into(),
                text(token, "/devices").into(),
                text(token, "/hardware").into(),
                if flag(token, "/replace") { "yes" } else { "" }.into(),
                out.cell(state, tone),
                time::utc(expires_ms).into(),
            ]);
        }
        out.print(table)
    })
}

/// Makes one worthless.
pub(super) fn remove(hub: &Hub, id: &str, out: &Output) -> Result<()> {
    hub.delete(&format!("enrolment-tokens/{}", encoded(id)))?;
    out.show(&json!({ "token": id, "removed": true }), |out| {
        out.line(&format!("token {id} is worthless; a device that has used it stays"))
    })
}

#[cfg(test)]
mod tests {
    use super::duration_s;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
        ] {
            assert_eq!(duration_s(text).ok(), seconds, "{text}");
        }
        for text in ["", "h", "24", "-1h", "0d", "1w", "99999999999999999d", "1\u{e4}"] {
            assert!(duration_s(text).is_err(), "{text}");
        }
    }
}
