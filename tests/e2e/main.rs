//! The gateway as a user meets it: the real binary over real sockets, the provider simulator beside it, and an
//! upstream that shows every byte it gets.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(missing_debug_implementations, reason = "nobody prints a test's tools")]

mod common;

mod access;
mod access_log;
mod acme;
mod answers;
mod api;
mod audit;
mod backup;
mod balance;
mod break_glass;
mod certificates;
mod challenge;
mod check_online;
mod cli;
mod clock_jump;
mod counts;
mod crash;
mod disk;
mod doctor;
mod events;
mod failover;
mod faults;
mod fleet;
mod forward_auth;
mod frames;
mod growth;
mod handover;
mod hostile;
mod http2;
mod idle;
mod init;
mod legacy;
mod limits;
mod logs;
mod lookup;
mod metrics;
mod moving;
mod offenders;
mod outage;
mod parking;
mod pending;
mod pinned;
mod proxy;
mod proxy_protocol;
mod race;
mod reach;
mod reload;
mod replay;
mod rules;
mod selftest;
mod sessions;
mod slow;
mod smoke;
mod smuggling;
mod spend;
mod streams;
mod systemd;
mod tells;
mod tls;
mod twilio;
mod upstreams;
mod vonage;
mod webhook;
mod websocket;
