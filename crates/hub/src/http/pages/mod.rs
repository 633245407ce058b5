//! The pages: the fleet, and one device. HTML from the server; they work without JavaScript, with it their `main` is
//! renewed every two seconds. Whatever a device said is escaped by the template.

mod device;
mod drift;
mod fleet;
mod parts;

pub(crate) use device::page as device;
pub(crate) use fleet::page as fleet;
