//! The section `[enrolment]`: by what devices get their certificates.

use super::read::FileEnrolment;
use super::{Broker, Draft};
use crate::authority::StaffName;
use std::path::{Path, PathBuf};

/// What the section says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnrolmentFiles {
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    /// As devices reach it.
    pub(crate) broker: Option<String>,
    /// `None`: the broker's certificate is from `ca` as well.
    pub(crate) broker_ca: Option<PathBuf>,
    pub(crate) certificate_ttl_ms: u64,
    pub(crate) api_ca: Option<PathBuf>,
    pub(crate) reserved: Vec<String>,
}

impl Draft {
    /// `None` when something is missing, which was told.
    pub(super) fn enrolment(
        &mut self,
        section: &FileEnrolment,
        broker: Option<&Broker>,
        base: &Path,
    ) -> Option<EnrolmentFiles> {
        let ca = self.named("enrolment.ca", section.ca.as_deref(), base);
        let ca_key = self.named("enrolment.ca_key", section.ca_key.as_deref(), base);
        let api_ca = self.named("enrolment.api_ca", section.api_ca.as_deref(), base);
        let own_broker_ca = self.named("enrolment.broker_ca", section.broker_ca.as_deref(), base);
        let (own_url, own_ca) = match broker {
            Some(Broker::Remote { url, tls }) if url.starts_with("mqtts:") => (Some(url), tls.as_ref()),
            _ => (None, None),
        };
        let broker = section.broker.as_ref().or(own_url).cloned();
        if broker.as_ref().is_some_and(|url| !url.starts_with("mqtts://")) {
            self.problems.push(
                "`enrolment.broker`: certificates are for an mqtts:// broker: expected mqtts://HOST:PORT".to_owned(),
            );
        }
        for name in section
            .reserved
            .iter()
            .filter(|name| name.parse::<StaffName>().is_err())
        {
            self.problems.push(format!(
                "`enrolment.reserved`: {name:?} is no name: expected 1 to 64 of A-Z a-z 0-9 _ - ."
            ));
        }
        let certificate_ttl_ms = self.milliseconds("enrolment.certificate_ttl_s", section.certificate_ttl_s, 1000);
        Some(EnrolmentFiles {
            ca: ca?,
            ca_key: ca_key?,
            broker,
            broker_ca: own_broker_ca.or_else(|| own_ca.map(|tls| tls.ca.clone())),
            certificate_ttl_ms,
            api_ca,
            reserved: section.reserved.clone(),
        })
    }
}
