//! The story: what happens, in order, and what has to be seen of it.

use super::observer::Observer;
use super::plant::{DEVICES, Plant};
use super::site::Site;
use super::{StepSeen, bundles, forger};
use crate::output::{Output, Tone};
use anyhow::Result;
use floorhand_bundle::{Archive, DeviceId, Digest, Manifest};
use floorhand_protocol::{JobStatus, Severity, Step};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// The longest that any one thing may take. A loaded machine takes ten times what a free one does.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the fleet's broker is away.
const OUTAGE: Duration = Duration::from_secs(5);
/// After this, what agents have counted is in the hub: they report every second.
const SETTLE: Duration = Duration::from_secs(4);
/// Samples that each device has to give before the story goes on.
const ENOUGH_RESULTS: u64 = 20;

/// A story that is being told.
pub(super) struct Story<'a> {
    site: Site,
    observer: Observer,
    plant: Arc<Plant>,
    devices: Vec<DeviceId>,
    /// Samples that the hub knew of before the machines ran, by device.
    before: Vec<u64>,
    out: &'a Output,
    steps: Vec<StepSeen>,
}

impl<'a> Story<'a> {
    /// Builds the site and starts everything.
    pub(super) async fn begin(port: Option<u16>, out: &'a Output) -> Result<Self> {
        out.note("making keys and certificates, starting two brokers, a hub and three agents");
        let mut site = tokio::task::block_in_place(|| Site::new(port))?;
        wait_for_hub(&mut site).await?;
        out.note(&format!("dashboard: {}", site.dashboard));
        tokio::task::block_in_place(|| site.start_agents())?;
        let connection = site.fleet_connection("observer")?;
        let observer = Observer::start(connection, &site.fleet, site.devices.clone()).await?;
        let plant = Plant::start(&site.plant_broker).await?;
        let devices = site.devices.keys().cloned().collect();
        Ok(Self {
            site,
            observer,
            plant,
            devices,
            before: Vec::new(),
            out,
            steps: Vec::new(),
        })
    }

    /// Where people look.
    pub(super) fn dashboard(&self) -> &str {
        &self.site.dashboard
    }

    /// Lets the machines run on when the story is over.
    pub(super) fn go_on(&self) {
        self.plant.go_on();
    }

    /// Keeps the folder when the story is over.
    pub(super) fn keep(&mut self) -> PathBuf {
        self.site.dir.disable_cleanup(true);
        self.site.dir.path().to_owned()
    }

    /// Tells the story to its end, or to the first step that isn't seen.
    pub(super) async fn tell(&mut self) -> Result<Vec<StepSeen>> {
        let told = self.chapters().await?;
        if !told {
            self.out.note("a step was not seen; the rest of the story is not told");
        }
        Ok(std::mem::take(&mut self.steps))
    }

    async fn chapters(&mut self) -> Result<bool> {
        Ok(self.devices_come().await?
            && self.machines_start().await?
            && self.first_bundle().await?
            && self.samples_flow().await?
            && self.bearing_wears().await?
            && self.second_bundle().await?
            && self.third_bundle().await?
            && self.fourth_bundle().await?
            && self.tampered_bundle().await?
            && self.forged_bundle().await?
            && self.broker_goes_away().await?)
    }

    async fn devices_come(&mut self) -> Result<bool> {
        self.see("three agents say hello to the hub", |story| {
            let devices = story.hub("devices")?;
            let here = items(&devices, "devices")
                .iter()
                .filter(|device| device["online"] == true && device.pointer("/hello/agent").is_some())
                .count();
            Ok((here == DEVICES.len()).then(|| json!({ "hub": "GET /api/v1/devices", "online": here })))
        })
        .await
    }

    /// From here on, every sample is counted at both ends.
    async fn machines_start(&mut self) -> Result<bool> {
        self.plant.probe(true);
        let listens = self
            .see("the agents listen to their machines", |story| {
                let counts: Vec<u64> = story
                    .devices
                    .iter()
                    .map(|device| story.observer.seen().samples_of(device))
                    .collect();
                Ok((!counts.contains(&0)).then(|| json!({ "mqtt": "samples counted", "by device": counts })))
            })
            .await?;
        self.plant.probe(false);
        tokio::time::sleep(SETTLE).await;
        let counts = self
            .devices
            .iter()
            .map(|device| Ok(self.totals(device)?.0))
            .collect::<Result<Vec<u64>>>()?;
        self.before = counts;
        self.plant.run();
        Ok(listens)
    }

    async fn first_bundle(&mut self) -> Result<bool> {
        let bundle = self.push(1, true)?;
        let all = self.devices.clone();
        let job = self.deploy(&bundle, &all)?;
        self.see_committed(
            "bundle 1.0.0 is fetched, tried and committed by all three",
            &job,
            &bundle,
            all,
        )
        .await
    }

    async fn samples_flow(&mut self) -> Result<bool> {
        self.see("samples flow in and results out", |story| {
            let results: Vec<u64> = DEVICES.iter().map(|device| story.plant.results(device)).collect();
            let enough = results.iter().all(|&count| count >= ENOUGH_RESULTS);
            Ok(enough.then(|| json!({ "plant broker": "plant/+/condition", "results": results })))
        })
        .await
    }

    async fn bearing_wears(&mut self) -> Result<bool> {
        self.out.note("the bearing of press-3 begins to wear");
        self.plant.begin_to_wear();
        let worn: DeviceId = "press-3".parse()?;
        let seen = self
            .see(
                "the drift monitor of press-3 says so, on the wire and in the hub",
                |story| {
                    let on_the_wire = story.observer.seen().findings.iter().find_map(|(device, finding)| {
                        let is = *device == worn && finding.kind == "drift" && finding.severity == Severity::Alarm;
                        is.then(|| finding.message.clone())
                    });
                    let Some(message) = on_the_wire else { return Ok(None) };
                    let found = story.hub("findings?device=press-3&limit=50")?;
                    let in_the_hub = items(&found, "findings")
                        .iter()
                        .any(|finding| finding.to_string().contains("drift"));
                    Ok(in_the_hub.then(|| json!({ "mqtt": message, "hub": "GET /api/v1/findings?device=press-3" })))
                },
            )
            .await?;
        if !seen {
            return Ok(false);
        }
        self.see(
            "the model sees the wear too: the probability on press-3 rises above 0.9",
            |story| {
                let probability = story
                    .plant
                    .probability("press-3")
                    .filter(|&probability| probability > 0.9);
                Ok(probability.map(|probability| json!({ "plant/press-3/condition": probability })))
            },
        )
        .await
    }

    async fn second_bundle(&mut self) -> Result<bool> {
        let bundle = self.push(2, true)?;
        let mut rest = self.devices.clone();
        let first = rest.remove(0);
        let job = self.deploy(&bundle, std::slice::from_ref(&first))?;
        if !self
            .see_committed(
                "bundle 1.1.0 goes to one device and passes its trial",
                &job,
                &bundle,
                vec![first],
            )
            .await?
        {
            return Ok(false);
        }
        let job = self.deploy(&bundle, &rest)?;
        self.see_committed("then to the rest", &job, &bundle, rest).await
    }

    async fn third_bundle(&mut self) -> Result<bool> {
        let running = self.active("press-1")?;
        let bundle = self.push(3, false)?;
        let device: DeviceId = "press-1".parse()?;
        let job = self.deploy(&bundle, std::slice::from_ref(&device))?;
        self.see(
            "a third bundle fails its golden cases on the device and never starts",
            move |story| {
                let seen = story.observer.seen();
                let Some(report) = seen
                    .last_report(&device, &job)
                    .filter(|report| report.status.is_final())
                else {
                    return Ok(None);
                };
                let steps = seen.steps(&device, &job);
                let right = report.status == JobStatus::Failed
                    && report.step == Step::Staged
                    && report.reason.contains("golden case")
                    && !steps.contains(&Step::Trial.name());
                let evidence = json!({ "mqtt": report.reason, "steps": steps, "still runs": running });
                drop(seen);
                anyhow::ensure!(right, "it ended otherwise: {evidence}");
                Ok(
                    (story.job_status(&job, "press-1")? == "FAILED" && story.active("press-1")? == running)
                        .then_some(evidence),
                )
            },
        )
        .await
    }

    async fn fourth_bundle(&mut self) -> Result<bool> {
        let running = self.active("press-1")?;
        let bundle = self.push(4, true)?;
        let devices = self.devices.clone();
        let job = self.deploy(&bundle, &devices)?;
        self.see(
            "a fourth passes them, fails its trial, and all three roll it back by themselves",
            move |story| {
                let mut reasons = Vec::new();
                for device in &devices {
                    let seen = story.observer.seen();
                    let Some(report) = seen.last_report(device, &job).filter(|report| report.status.is_final()) else {
                        return Ok(None);
                    };
                    let steps = seen.steps(device, &job);
                    let right = report.status == JobStatus::Failed
                        && report.step == Step::RolledBack
                        && steps.contains(&Step::Trial.name());
                    anyhow::ensure!(right, "{device} ended otherwise: {} {:?}", report.reason, steps);
                    reasons.push(json!({ "device": device, "mqtt": report.reason }));
                }
                for device in &devices {
                    if story.job_status(&job, device.as_str())? != "FAILED" || story.active(device.as_str())? != running
                    {
                        return Ok(None);
                    }
                }
                Ok(Some(json!({ "reasons": reasons, "still runs": running })))
            },
        )
        .await
    }

    async fn tampered_bundle(&mut self) -> Result<bool> {
        let archive = bundles::archive(bundles::assemble(2)?, &self.site.release)?;
        let tampered = Archive {
            manifest: forger::tamper(&archive.manifest)?,
            ..archive
        };
        self.see("a tampered bundle is refused by the hub", |story| {
            match story.upload(&tampered) {
                Ok(answer) => anyhow::bail!("the hub took it: {answer}"),
                Err(error) => {
                    let error = format!("{error:#}");
                    anyhow::ensure!(
                        error.contains("signed by 0 of the 1 keys"),
                        "refused for another reason: {error}"
                    );
                    Ok(Some(json!({ "hub": error })))
                }
            }
        })
        .await
    }

    async fn forged_bundle(&mut self) -> Result<bool> {
        let running = self.active("press-2")?;
        let device: DeviceId = "press-2".parse()?;
        let archive = bundles::archive(bundles::assemble(2)?, &self.site.release)?;
        let tampered = forger::tamper(&archive.manifest)?;
        let seq = self
            .hub("devices/press-2")?
            .pointer("/device/hello/seq")
            .and_then(Value::as_u64);
        let seq = seq.or_else(|| self.hub("devices/press-2").ok()?.pointer("/hello/seq")?.as_u64());
        let job = forger::forge(&self.site, &self.observer, &device, seq.unwrap_or(100) + 1, tampered).await?;
        self.see(
            "and by the device, though it comes with the hub's own stolen key",
            move |story| {
                let seen = story.observer.seen();
                let Some(report) = seen
                    .last_report(&device, &job)
                    .filter(|report| report.status.is_final())
                else {
                    return Ok(None);
                };
                let right = report.status == JobStatus::Failed && report.reason.contains("signed by 0 of the 1 keys");
                let evidence = json!({ "mqtt": report.reason, "still runs": running });
                drop(seen);
                anyhow::ensure!(right, "it ended otherwise: {evidence}");
                Ok((story.active("press-2")? == running).then_some(evidence))
            },
        )
        .await
    }

    async fn broker_goes_away(&mut self) -> Result<bool> {
        self.out
            .note("the fleet's broker is stopped; machines and agents go on");
        let before: Vec<u64> = DEVICES.iter().map(|device| self.plant.results(device)).collect();
        tokio::task::block_in_place(|| self.site.broker.stop());
        tokio::time::sleep(OUTAGE).await;
        let after: Vec<u64> = DEVICES.iter().map(|device| self.plant.results(device)).collect();
        let served: Vec<u64> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect();
        let devices = self.devices.clone();
        self.site.broker.restart()?;
        if served.contains(&0) {
            return self
                .see("results keep coming while the broker is away", |_| Ok(None))
                .await;
        }
        self.out
            .note("the broker is back; the machines stop, so that everything can be counted");
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.plant.stop();
        self.see(
            "nothing is lost: every sample and every record is accounted for in the hub",
            move |story| {
                let mut counted = Vec::new();
                for (index, device) in devices.iter().enumerate() {
                    let published = story.plant.published(index);
                    let (counted_by_now, lost) = story.totals(device)?;
                    let in_hub = counted_by_now - story.before.get(index).copied().unwrap_or(0);
                    let missing = story.missing_records(device)?;
                    if in_hub < published || missing > 0 {
                        return Ok(None);
                    }
                    anyhow::ensure!(lost == 0, "{device} has declared {lost} records lost");
                    counted.push(json!({
                        "device": device, "published": published, "samples in the hub": in_hub,
                        "records missing": missing, "results during the outage": served.get(index),
                    }));
                }
                Ok(Some(json!(counted)))
            },
        )
        .await
    }
}

// What the story is told with.
impl Story<'_> {
    /// Looks until there is evidence, or patience ends.
    async fn see(&mut self, step: &'static str, mut look: impl FnMut(&Self) -> Result<Option<Value>>) -> Result<bool> {
        let started = Instant::now();
        let found = loop {
            let looked = tokio::task::block_in_place(|| look(self).and_then(|found| Ok((found, self.site.check()?))));
            match looked {
                Ok((Some(evidence), ())) => break Ok(evidence),
                Ok((None, ())) if started.elapsed() > PATIENCE => break Err(json!("not seen in time")),
                Ok((None, ())) => {}
                Err(error) => break Err(json!(format!("{error:#}"))),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let seen = found.is_ok();
        let evidence = found.unwrap_or_else(|problem| problem);
        let mark = if seen {
            self.out.paint("seen", Tone::Good)
        } else {
            self.out.paint("NOT SEEN", Tone::Bad)
        };
        self.out.note(&format!("{mark}  {step}"));
        self.out.note(&format!(
            "      {}",
            self.out.paint(&shorten(&plain(&evidence)), Tone::Dim)
        ));
        self.steps.push(StepSeen {
            step,
            seen,
            evidence,
            took_ms,
        });
        Ok(seen)
    }

    async fn see_committed(
        &mut self,
        step: &'static str,
        job: &str,
        bundle: &str,
        devices: Vec<DeviceId>,
    ) -> Result<bool> {
        let (job, bundle) = (job.to_owned(), bundle.to_owned());
        self.see(step, move |story| {
            for device in &devices {
                let seen = story.observer.seen();
                let Some(report) = seen.last_report(device, &job).filter(|report| report.status.is_final()) else {
                    return Ok(None);
                };
                let right = report.status == JobStatus::Succeeded && seen.steps(device, &job).contains(&"trial");
                anyhow::ensure!(
                    right,
                    "{device} ended otherwise: {} {}",
                    report.status.name(),
                    report.reason
                );
            }
            for device in &devices {
                let status = story.job_status(&job, device.as_str())?;
                if status != "SUCCEEDED" || story.active(device.as_str())? != bundle {
                    return Ok(None);
                }
            }
            let steps = devices
                .first()
                .map(|device| story.observer.seen().steps(device, &job))
                .unwrap_or_default();
            Ok(Some(
                json!({ "mqtt steps": steps, "hub": format!("GET /api/v1/jobs/{job}"), "devices": devices }),
            ))
        })
        .await
    }

    /// Packs one of the demo's bundles and gives it to the hub. Returns its digest.
    fn push(&self, number: usize, golden: bool) -> Result<String> {
        let assembly = bundles::assemble(number)?;
        if golden {
            check_golden(&assembly)?;
        }
        let digest = Digest::of(&assembly.manifest.encode()?).to_string();
        let version = assembly.manifest.version.clone();
        let archive = bundles::archive(assembly, &self.site.release)?;
        self.upload(&archive)?;
        let how = if golden {
            "its golden cases pass here"
        } else {
            "signed without running its golden cases"
        };
        self.out
            .note(&format!("bundle {version} is signed and given to the hub; {how}"));
        Ok(digest)
    }

    fn upload(&self, archive: &Archive) -> Result<Value> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes)?;
        let length = bytes.len() as u64;
        tokio::task::block_in_place(|| self.site.hub.upload("bundles", std::io::Cursor::new(bytes), length))
    }

    fn deploy(&self, bundle: &str, devices: &[DeviceId]) -> Result<String> {
        let body = json!({ "bundle": bundle, "devices": devices });
        let issued = tokio::task::block_in_place(|| self.site.hub.post("deployments", &body))?;
        let job = issued.get("job").and_then(Value::as_str).unwrap_or_default().to_owned();
        anyhow::ensure!(!job.is_empty(), "the hub gave no job: {issued}");
        Ok(job)
    }

    fn hub(&self, path: &str) -> Result<Value> {
        tokio::task::block_in_place(|| self.site.hub.get(path))
    }

    /// The digest of what the hub says that a device runs.
    fn active(&self, device: &str) -> Result<String> {
        let view = self.hub(&format!("devices/{device}"))?;
        let active = view
            .pointer("/device/hello/active")
            .or_else(|| view.pointer("/hello/active"));
        Ok(active
            .and_then(|active| active.pointer("/bundle/digest")?.as_str())
            .unwrap_or("nothing")
            .to_owned())
    }

    /// The status of a job on a device, as the hub has it.
    fn job_status(&self, job: &str, device: &str) -> Result<String> {
        let view = self.hub(&format!("jobs/{job}"))?;
        let assignments = items(&view, "assignments");
        let of_device = assignments.iter().find(|assignment| assignment["device"] == device);
        Ok(of_device
            .and_then(|assignment| assignment["status"].as_str())
            .unwrap_or_default()
            .to_owned())
    }

    /// Samples that the hub knows a device has counted, and records that the device has declared lost.
    fn totals(&self, device: &DeviceId) -> Result<(u64, u64)> {
        let view = self.hub(&format!("devices/{device}"))?;
        let totals = view.pointer("/device/totals").or_else(|| view.pointer("/totals"));
        let number = |key: &str| totals.and_then(|totals| totals.get(key)?.as_u64());
        match (number("samples"), number("lost")) {
            (Some(samples), Some(lost)) => Ok((samples, lost)),
            _ => anyhow::bail!("the hub tells no totals of {device}"),
        }
    }

    /// Sequence numbers of a device's records that the hub lacks between the first and the last.
    fn missing_records(&self, device: &DeviceId) -> Result<u64> {
        let mut numbers = std::collections::BTreeSet::new();
        let mut after = 0;
        loop {
            let page = self.hub(&format!("records?device={device}&after={after}&limit=1000"))?;
            let records = items(&page, "records");
            numbers.extend(records.iter().filter_map(|record| record["seq"].as_u64()));
            let next = records.iter().filter_map(|record| record["id"].as_u64()).max();
            match next {
                Some(next) if next > after => after = next,
                _ => break,
            }
        }
        Ok(match (numbers.first(), numbers.last()) {
            (Some(_), Some(last)) => last - numbers.len() as u64,
            _ => 1,
        })
    }
}

async fn wait_for_hub(site: &mut Site) -> Result<()> {
    let started = Instant::now();
    loop {
        // One that has ended is told before what may answer in its place.
        site.check()?;
        if tokio::task::block_in_place(|| site.hub_answers())? {
            return Ok(());
        }
        let waited = started.elapsed();
        anyhow::ensure!(waited < PATIENCE, "the hub does not answer at {}", site.dashboard);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What `pack` does before it lets anybody sign.
fn check_golden(assembly: &floorhand_bundle::Assembly) -> Result<()> {
    let manifest: &Manifest = &assembly.manifest;
    let host = crate::engine::host()?;
    let read = |name: &floorhand_bundle::ComponentName| {
        let component = manifest.component(name).ok_or_else(|| format!("{name} is missing"))?;
        assembly
            .blobs
            .get(&component.blob.sha256)
            .cloned()
            .ok_or_else(|| format!("{name} is missing"))
    };
    let mut pipeline = floorhand_pipeline::Pipeline::load(&manifest.pipeline, &mut |name| read(name), &host)?;
    let cases = read(&manifest.golden.component).map_err(|problem| anyhow::anyhow!(problem))?;
    floorhand_pipeline::run_golden(&mut pipeline, &manifest.golden, &cases)?;
    Ok(())
}

/// The items of a list, whether it stands alone or under a name.
fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value
        .as_array()
        .or_else(|| value[name].as_array())
        .map_or(&[], Vec::as_slice)
}

/// Evidence as a person reads it: `hub: GET /api/v1/devices, online: 3`.
fn plain(evidence: &Value) -> String {
    let joined = |parts: Vec<String>, between: &str| parts.join(between);
    match evidence {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_object) => joined(items.iter().map(plain).collect(), "; "),
        Value::Array(items) => joined(items.iter().map(plain).collect(), " "),
        Value::Object(entries) => joined(
            entries
                .iter()
                .map(|(key, value)| format!("{key}: {}", plain(value)))
                .collect(),
            ", ",
        ),
        other => other.to_string(),
    }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 240;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("...".chars()).collect()
}
