//! How much memory a process takes: on the machine, and on its GPU.
//!
//! Not for limiting it. What cannot be found out is left out: nothing depends on these numbers.

use tch::Device;

use crate::native;

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// Memory in GiB by name: `memory_gib` that is resident, and on a GPU `cuda_peak_gib`, the most that tensors took at once so far.
pub fn taken(device: Device) -> Vec<(String, f64)> {
    let resident = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status));
    let peak = match device {
        Device::Cuda(number) => native::cuda_peak_bytes(number).ok(),
        _ => None,
    };
    let named = [("memory_gib", resident), ("cuda_peak_gib", peak)];
    named.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), bytes? as f64 / GIB))).collect()
}

/// Out of what Linux says of a process.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_out_of_what_linux_says() {
        let status = "Name:\tegofx-train\nVmHWM:\t   90000 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(resident_bytes(status), Some(1 << 20));
        assert_eq!(resident_bytes("VmRSS: many"), None);
        let taken = taken(Device::Cpu);
        assert!(taken.len() == 1 && taken[0].1 > 0.001, "{taken:?}");
    }
}
