//! Things that one device is told, and answers.

use super::client::{Hub, encoded};
use super::facts::{number, text};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, visible};
use anyhow::{Result, anyhow};
use clap::Args;
use floorhand_bundle::DeviceId;
use serde_json::{Value, json};

/// A device, and how long to wait for it.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// The device
    device: DeviceId,
    /// How long to wait for its answer, in seconds; 0 doesn't wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=50))]
    timeout: u64,
}

/// Reads a share: a number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1, e.g. 0.05 for one prediction in twenty".to_owned()),
    }
}

/// Lets samples go by.
pub(super) fn pause(hub: &Hub, args: &DeviceArgs, out: &Output) -> Result<()> {
    let answer = tell(hub, args, "pause", &json!({}))?;
    out.show(&answer, |out| {
        taken(args, &answer, "is paused: its samples are let go by and counted", out)
    })
}

/// Makes it work again.
pub(super) fn resume(hub: &Hub, args: &DeviceArgs, out: &Output) -> Result<()> {
    let answer = tell(hub, args, "resume", &json!({}))?;
    out.show(&answer, |out| taken(args, &answer, "works again", out))
}

/// Sets the share of predictions that are reported.
pub(super) fn set_sampling(hub: &Hub, args: &DeviceArgs, share: f64, out: &Output) -> Result<()> {
    let answer = tell(hub, args, "sampling", &json!({ "ppm": (share * 1e6).round() as u32 }))?;
    out.show(&answer, |out| {
        taken(
            args,
            &answer,
            &format!("reports {}% of its predictions", share * 100.0),
            out,
        )
    })
}

/// Makes it report.
pub(super) fn report_now(hub: &Hub, args: &DeviceArgs, out: &Output) -> Result<()> {
    let answer = tell(hub, args, "report-now", &json!({}))?;
    out.show(&answer, |out| out.line(&visible(&pretty(&done(args, &answer)?))))
}

/// Shows its log.
pub(super) fn fetch_logs(hub: &Hub, args: &DeviceArgs, lines: u32, out: &Output) -> Result<()> {
    let answer = tell(hub, args, "fetch-logs", &json!({ "lines": lines }))?;
    out.show(&answer, |out| out.line(visible(&done(args, &answer)?).trim_end()))
}

/// Tells a device something through the hub, and waits for what it answers. A refusal by the device is an error.
fn tell(hub: &Hub, args: &DeviceArgs, what: &str, body: &Value) -> Result<Value> {
    let device = encoded(args.device.as_str());
    let issued = hub.post(&format!("devices/{device}/{what}"), body)?;
    if args.timeout == 0 {
        return Ok(issued);
    }
    let to = match (number(&issued, "/seq"), number(&issued, "/id")) {
        (Some(seq), _) => format!("assign/{seq}"),
        (None, Some(id)) => format!("cmd/{id}"),
        (None, None) => {
            return Err(anyhow!("the hub names neither an assignment nor a command: {issued}"));
        }
    };
    let answer = hub
        .get(&format!("devices/{device}/answers/{to}?wait_s={}", args.timeout))
        .map_err(|error| unanswered(error, args, what))?;
    match answer.pointer("/outcome/rejected") {
        Some(rejected) => {
            let reason = text(rejected, "/reason");
            Err(Failure::new(Exit::Device, format!("{} refuses to {what}: {reason}", args.device)).into())
        }
        None => Ok(answer),
    }
}

/// No answer in time is the device's failure. What the hub says about itself stays its own.
fn unanswered(error: anyhow::Error, args: &DeviceArgs, what: &str) -> anyhow::Error {
    let (device, timeout) = (&args.device, args.timeout);
    if error
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.exit() == Exit::Failed)
    {
        let message = format!("{device} has not answered to {what} within {timeout} s; it is told when it connects");
        return Failure::new(Exit::Device, message).into();
    }
    error.context(format!("{device} was told to {what}, and its answer is not known"))
}

fn taken(args: &DeviceArgs, answer: &Value, now: &str, out: &Output) -> Result<()> {
    let device = &args.device;
    if answer.get("outcome").is_none() {
        return out.line(&format!("{device} was told; its answer was not waited for"));
    }
    out.line(&out.paint(&format!("{device} {now}"), Tone::Good))
}

/// The result of a command.
fn done(args: &DeviceArgs, answer: &Value) -> Result<String> {
    match answer.pointer("/outcome/done/body").and_then(Value::as_str) {
        Some(body) => Ok(body.to_owned()),
        None if args.timeout == 0 => Ok(format!("{} was told; its answer was not waited for", args.device)),
        None => Err(anyhow!("{} answers without a result: {answer}", args.device)),
    }
}

/// JSON on several lines; any other text as it is.
fn pretty(body: &str) -> String {
    let json = serde_json::from_str::<Value>(body).ok();
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_none_and_all() {
        assert_eq!(share("0.05"), Ok(0.05));
        assert_eq!(share("1"), Ok(1.0));
        for bad in ["-0.1", "5", "5%", "NaN", ""] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
