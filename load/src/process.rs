//! The processes that are measured: starting them, reading what they use, ending them.
//!
//! A [`Process`] belongs to one owner; dropping it kills and reaps the process, so that an error, a
//! panic or Ctrl-C leaves nothing behind. Only a SIGKILL of this tool itself can orphan a child.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use procfs::process::{SmapsRollup, Stat};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{LoadError, Result};

const EXIT_POLL: Duration = Duration::from_millis(2);

/// A child process with its log in a file.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    /// When it was spawned.
    pub started: Instant,
}

/// What a process has used at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system time since its start.
    pub cpu: Duration,
    /// Memory that is resident.
    pub rss_bytes: u64,
    /// The same with shared pages counted in proportion.
    pub pss_bytes: u64,
    /// Threads.
    pub threads: i64,
}

impl Process {
    /// Starts a program; standard output and error go to the file `log`.
    pub fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = |source| LoadError::File {
            what: "cannot write",
            path: log.to_owned(),
            source,
        };
        let output = File::create(log).map_err(file)?;
        let errors = output.try_clone().map_err(file)?;
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // A group of its own: Ctrl-C reaches this tool alone, which then ends its children.
            .process_group(0)
            // A developer's setting that makes errors load 250 MB of debug information.
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LIB_BACKTRACE")
            .spawn()
            .map_err(|source| LoadError::Spawn {
                program: PathBuf::from(command.get_program()),
                source,
            })?;
        Ok(Self { name, child, started })
    }

    /// Fails when the process has ended.
    pub fn check_alive(&mut self, phase: &str) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(LoadError::Exited {
                name: self.name,
                status,
                phase: phase.to_owned(),
            }),
        }
    }

    /// CPU time, memory and threads.
    pub fn usage(&self) -> Result<Usage> {
        // A process id fits: Linux hands out at most 2^22.
        usage_of(self.child.id().cast_signed())
    }

    /// CPU time of the process and of all it has started: those that live, and those it has reaped.
    pub fn tree_cpu(&self) -> Result<Duration> {
        let pid = self.child.id().cast_signed();
        let error = |source| LoadError::Proc {
            what: "stat",
            pid,
            source,
        };
        let own = procfs::process::Process::new(pid).and_then(|process| process.stat());
        let own = own.map_err(error)?;
        // Children are reaped by adding to these two, so that nothing is counted twice.
        let reaped = (own.cutime + own.cstime).max(0).cast_unsigned();
        let mut ticks = own.utime + own.stime + reaped;
        for process in procfs::process::all_processes().map_err(error)? {
            // One that ends meanwhile is counted by its parent the next time.
            let stat = process.and_then(|process| process.stat());
            if let Ok(stat) = stat
                && stat.ppid == pid
            {
                ticks += stat.utime + stat.stime;
            }
        }
        Ok(time(ticks, procfs::ticks_per_second()))
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The child is reaped by this value alone, so its id cannot belong to anyone else before.
        kill_process(Pid::from_child(&self.child), signal).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Sends the signal and waits for the end; after `limit` the process is killed. Returns how long
    /// it took and whether it ended without being killed by this method.
    pub async fn end(mut self, signal: Signal, limit: Duration) -> Result<Ended> {
        let begun = Instant::now();
        self.signal(signal)?;
        let mut in_time = true;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Ended {
                    took: begun.elapsed(),
                    status,
                    in_time,
                });
            }
            if in_time && begun.elapsed() > limit {
                in_time = false;
                self.child.kill()?;
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub took: Duration,
    status: ExitStatus,
    /// False when it had to be killed.
    in_time: bool,
}

impl Ended {
    /// Whether it ended in time and without an error.
    pub fn is_clean(&self) -> bool {
        self.in_time && self.status.success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is already reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this tool itself has used.
pub fn own_usage() -> Result<Usage> {
    usage_of(std::process::id().cast_signed())
}

fn usage_of(pid: i32) -> Result<Usage> {
    let error = |what| move |source| LoadError::Proc { what, pid, source };
    let process = procfs::process::Process::new(pid).map_err(error("/proc"))?;
    let stat = process.stat().map_err(error("stat"))?;
    let rollup = process.smaps_rollup().map_err(error("smaps_rollup"))?;
    Ok(usage_from(&stat, &rollup, procfs::ticks_per_second()))
}

fn usage_from(stat: &Stat, rollup: &SmapsRollup, ticks_per_second: u64) -> Usage {
    let memory = |key: &str| {
        let maps = rollup.memory_map_rollup.iter();
        maps.filter_map(|map| map.extension.map.get(key)).sum()
    };
    Usage {
        cpu: time(stat.utime + stat.stime, ticks_per_second),
        rss_bytes: memory("Rss"),
        pss_bytes: memory("Pss"),
        threads: stat.num_threads,
    }
}

fn time(ticks: u64, ticks_per_second: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1_000) / ticks_per_second.max(1))
}

#[cfg(test)]
mod tests;
