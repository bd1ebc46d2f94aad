//! On what the numbers were measured.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use procfs::prelude::*;
use procfs::{CpuInfo, Meminfo};
use serde::Serialize;

use crate::error::{LoadError, Result};
use crate::latency::median;

/// Syncs that are timed to know the disk.
const SYNCS: usize = 100;
const SYNC_BYTES: usize = 4_096;

/// The machine and its disk.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub memory_bytes: u64,
    pub cpu: String,
    pub kernel: String,
    /// File system under the databases.
    pub filesystem: &'static str,
    /// Median time of an fsync of 4 KiB there.
    pub fsync_ms: f64,
}

impl Machine {
    /// Reads the machine's facts and times the disk under `folder`.
    pub fn inspect(folder: &Path) -> Result<Self> {
        let pid = std::process::id().cast_signed();
        let error = |what| move |source| LoadError::Proc { what, pid, source };
        let cpus = CpuInfo::current().map_err(error("/proc/cpuinfo"))?;
        let memory = Meminfo::current().map_err(error("/proc/meminfo"))?;
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(cpus.num_cores(), usize::from),
            memory_bytes: memory.mem_total,
            cpu: cpus.model_name(0).unwrap_or("unknown").to_owned(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            filesystem: filesystem(folder)?,
            fsync_ms: fsync_ms(folder)?,
        })
    }
}

fn filesystem(folder: &Path) -> Result<&'static str> {
    let kind = rustix::fs::statfs(folder).map_err(std::io::Error::from)?.f_type;
    // Magic numbers of statfs(2).
    Ok(match kind {
        0xef53 => "ext4",
        0x9123_683e => "btrfs",
        0x5846_5342 => "xfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x0102_1994 => "tmpfs",
        _ => "other",
    })
}

fn fsync_ms(folder: &Path) -> Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = [0x5a; SYNC_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&block)?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::inspect(folder.path()).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty() && !machine.kernel.ends_with('\n'));
    }
}
