//! How blobs get to devices over a real Mosquitto: over links with every fault there is, and to two hundred at once.
//!
//! The hub is the program. A device is the agent's own code for fetching and its client, without the engines that two hundred
//! agents would bring.

mod broadcast;
mod device;
mod faults;
