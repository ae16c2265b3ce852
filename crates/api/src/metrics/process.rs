//! The operating system's figures of the process, under the names that every Prometheus client uses. On Linux only;
//! elsewhere there is nothing.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// The process's own CPU, memory and file descriptors.
#[derive(Debug)]
pub struct ProcessCollector;

#[cfg(not(target_os = "linux"))]
impl Collector for ProcessCollector {
    fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric;
        use prometheus_client::metrics::counter::ConstCounter;
        use prometheus_client::metrics::gauge::ConstGauge;

        // Where /proc is not to be had, there is nothing to say.
        let Some(readings) = linux::read() else { return Ok(()) };
        let cpu = ConstCounter::new(readings.cpu_seconds);
        let help = "Time on processors, in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory, in bytes", readings.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory, in bytes", readings.virtual_bytes),
            ("process_threads", "Threads", readings.threads),
            ("process_open_fds", "Open files and sockets", readings.open_files),
            ("process_max_fds", "Most open files and sockets", readings.open_files_max),
            ("process_start_time_seconds", "When the process started, in seconds since 1970", readings.started_s),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::{LimitValue, Process};
    use procfs::{CurrentSI, WithCurrentSystemInfo};

    pub struct Readings {
        pub cpu_seconds: f64,
        pub resident_bytes: f64,
        pub virtual_bytes: f64,
        pub threads: f64,
        pub open_files: f64,
        pub open_files_max: f64,
        pub started_s: f64,
    }

    pub fn read() -> Option<Readings> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let booted_s = procfs::KernelStats::current().ok()?.btime as f64;
        let open_files_max = match process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        Some(Readings {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: stat.rss_bytes().get() as f64,
            virtual_bytes: stat.vsize as f64,
            threads: stat.num_threads as f64,
            open_files: process.fd_count().ok()? as f64,
            open_files_max,
            started_s: booted_s + stat.starttime as f64 / ticks,
        })
    }
}
