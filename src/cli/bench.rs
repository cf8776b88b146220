//! `bottle-vmm bench boot`: whole runs, phase by phase, and comparisons that a pipeline can fail on.

use super::args::{BenchCommand, BootBench};
use super::out;
use super::report::Failure;
use crate::draft::{Draft, drafts};
use crate::launch::timings::{Phase, Timings};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("a boot of the benchmark failed ({status})")]
    Boot { status: std::process::ExitStatus },
    #[error("cannot start {program}")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no result of `bench boot --save`")]
    Result {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`--fail-above` needs something to compare with")]
    NothingToCompare,
    #[error("`--fail-above {0}` is not a factor such as 1.10")]
    Factor(f64),
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        let hint = match &error {
            BenchError::NothingToCompare => Some("give `--baseline FILE` or `--against PROGRAM|KERNEL`".to_owned()),
            BenchError::Boot { .. } => {
                Some("its own error stands above; `bottle-vmm run -- /bin/true` shows it alone".to_owned())
            }
            BenchError::Result { .. } => Some("make one: `bottle-vmm bench boot --save FILE`".to_owned()),
            BenchError::Factor(_) => Some("1.10 is: fail when it takes a tenth longer".to_owned()),
            BenchError::Start { .. } | BenchError::File { .. } => None,
        };
        Self::new(error, hint)
    }
}

/// One distribution, in the unit that its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Distribution {
    p50: f64,
    p90: f64,
    p99: f64,
    min: f64,
    max: f64,
}

/// A phase: the time from the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PhaseResult {
    phase: Phase,
    ms: Distribution,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BenchResult {
    /// Of this format.
    version: u32,
    boots: usize,
    phases: Vec<PhaseResult>,
    /// From the start of the process to its end, as its parent sees it.
    wall_ms: Distribution,
    cpu_ms: Distribution,
    cpu_to_first_kvm_run_ms: Distribution,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    vm_exits: Option<Distribution>,
}

const RESULT_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    result: BenchResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<BenchResult>,
    /// Median wall time divided by that of the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

pub fn run(command: &BenchCommand) -> Result<ExitCode, Failure> {
    let BenchCommand::Boot(args) = command;
    if let Some(factor) = args.fail_above {
        if args.baseline.is_none() && args.against.is_none() {
            return Err(BenchError::NothingToCompare.into());
        }
        if !factor.is_finite() || factor <= 0.0 {
            return Err(BenchError::Factor(factor).into());
        }
    }
    // Read first: a baseline that cannot be read should not cost a minute.
    let baseline = args.baseline.as_deref().map(read_result).transpose()?;
    let sides = sides(args)?;
    let mut runs = measure(&sides, args.n)?.into_iter();
    let result = BenchResult::of(&runs.next().unwrap_or_default());
    let against = runs.next().map(|runs| BenchResult::of(&runs)).or(baseline);
    let ratio = against.as_ref().map(|other| result.wall_ms.p50 / other.wall_ms.p50);
    if let Some(path) = &args.save {
        write_result(path, &result)?;
    }
    let report = Report { result, against, ratio };
    print(&report, args.json)?;
    let failed = args.fail_above.zip(ratio).is_some_and(|(limit, ratio)| ratio > limit);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is measured in turns: a program and its arguments.
struct Side {
    program: PathBuf,
    options: Vec<OsString>,
}

fn sides(args: &BootBench) -> Result<Vec<Side>, Failure> {
    let this = PathBuf::from("/proc/self/exe");
    let this = this.read_link().map_err(|source| BenchError::Start { program: this, source })?;
    let options: Vec<OsString> = match args.run.as_slice() {
        [] => ["--mem", "256M", "--", "/bin/true"].map(OsString::from).to_vec(),
        given => given.to_vec(),
    };
    let mut sides = vec![Side { program: this.clone(), options: options.clone() }];
    if let Some(other) = &args.against {
        let is_program = other.components().count() > 1;
        sides.push(if is_program {
            Side { program: other.clone(), options }
        } else {
            // Behind the other options, as the last `--kernel` counts, and before the command.
            let at = options.iter().position(|word| word == "--").unwrap_or(options.len());
            let mut with_kernel = options;
            with_kernel.splice(at..at, ["--kernel".into(), other.as_os_str().to_owned()]);
            Side { program: this, options: with_kernel }
        });
    }
    Ok(sides)
}

/// One boot.
#[derive(Clone, Debug, Default)]
struct Boot {
    wall_ms: f64,
    timings: Timings,
}

/// `n` boots of each side, in turns, so that a machine that drifts drifts for both. The first of each is not counted: it warms caches.
fn measure(sides: &[Side], n: u32) -> Result<Vec<Vec<Boot>>, Failure> {
    let bar = ProgressBar::new(u64::from(n) * sides.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("booting [{bar:30}] {pos}/{len} {eta} left") {
        bar.set_style(style);
    }
    let mut runs = vec![Vec::new(); sides.len()];
    for round in 0..=n {
        for (side, runs) in sides.iter().zip(&mut runs) {
            let boot = boot(side)?;
            if round > 0 {
                runs.push(boot);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(runs)
}

fn boot(side: &Side) -> Result<Boot, Failure> {
    let directory = std::env::temp_dir();
    let failed = |source| BenchError::File { path: directory.clone(), source };
    // Without a name, so that nothing of it is left whatever ends the benchmark.
    let mut file = Draft::new(&directory, &drafts(), 0o600).map(Draft::into_file).map_err(failed)?;
    let begin = std::time::Instant::now();
    let status = Command::new(&side.program)
        .arg("run")
        .arg("--timings")
        .arg(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
        .args(&side.options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| BenchError::Start { program: side.program.clone(), source })?;
    let wall_ms = begin.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        return Err(BenchError::Boot { status }.into());
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    let timings =
        serde_json::from_slice(&text).map_err(|source| BenchError::Result { path: side.program.clone(), source })?;
    Ok(Boot { wall_ms, timings })
}

impl Distribution {
    /// Nearest-rank percentiles of at least one value.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, min: *values.first()?, max: *values.last()? })
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and exits of one boot are far below 2^52")]
impl BenchResult {
    fn of(boots: &[Boot]) -> Self {
        let zero = Distribution { p50: 0.0, p90: 0.0, p99: 0.0, min: 0.0, max: 0.0 };
        let over = |value: &dyn Fn(&Boot) -> f64| Distribution::of(boots.iter().map(value).collect()).unwrap_or(zero);
        let phases = Phase::ALL.windows(2).filter_map(|pair| {
            let step =
                |boot: &Boot| Some(boot.timings.at(pair[1])?.saturating_sub(boot.timings.at(pair[0])?) as f64 / 1e6);
            let ms = Distribution::of(boots.iter().filter_map(step).collect())?;
            Some(PhaseResult { phase: pair[1], ms })
        });
        let exits: Option<Vec<f64>> =
            boots.iter().map(|boot| boot.timings.vm_exits.map(|exits| exits as f64)).collect();
        Self {
            version: RESULT_VERSION,
            boots: boots.len(),
            phases: phases.collect(),
            wall_ms: over(&|boot| boot.wall_ms),
            cpu_ms: over(&|boot| boot.timings.cpu_us as f64 / 1e3),
            cpu_to_first_kvm_run_ms: over(&|boot| boot.timings.cpu_to_first_kvm_run_us as f64 / 1e3),
            vm_exits: exits.and_then(Distribution::of),
        }
    }
}

fn read_result(path: &Path) -> Result<BenchResult, Failure> {
    let bytes = std::fs::read(path).map_err(|source| BenchError::File { path: path.to_owned(), source })?;
    Ok(serde_json::from_slice(&bytes).map_err(|source| BenchError::Result { path: path.to_owned(), source })?)
}

fn write_result(path: &Path, result: &BenchResult) -> Result<(), Failure> {
    let bytes = serde_json::to_vec_pretty(result).map_err(|error| Failure::new(error, None))?;
    Ok(std::fs::write(path, bytes).map_err(|source| BenchError::File { path: path.to_owned(), source })?)
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        return out::json(report);
    }
    let boots = report.result.boots;
    out::line(format_args!("{boots} boots; milliseconds{:>18} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "max"))?;
    for row in table(&report.result) {
        out::line(format_args!("{row}"))?;
    }
    if let (Some(other), Some(ratio)) = (&report.against, report.ratio) {
        let against = other.wall_ms.p50;
        out::line(format_args!("against: whole run {against:.1} (p50), so this is {ratio:.3} of it"))?;
    }
    Ok(())
}

fn table(result: &BenchResult) -> Vec<String> {
    let row = |name: &str, d: &Distribution| {
        format!("  {name:<26} {:>9.1} {:>9.1} {:>9.1} {:>9.1}", d.p50, d.p90, d.p99, d.max)
    };
    let name = |phase: Phase| {
        serde_json::to_value(phase).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " "))).unwrap_or_default()
    };
    let mut rows: Vec<_> =
        result.phases.iter().map(|phase| row(&format!("… {}", name(phase.phase)), &phase.ms)).collect();
    rows.push(row("whole run", &result.wall_ms));
    rows.push(row("CPU to first KVM_RUN", &result.cpu_to_first_kvm_run_ms));
    rows.push(row("CPU in all", &result.cpu_ms));
    rows.extend(result.vm_exits.map(|exits| row("VM exits", &exits)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(wall_ms: f64, marks: &[(Phase, u64)]) -> Boot {
        let mut timings = Timings { vm_exits: Some(2000), ..Timings::default() };
        for (phase, at_ns) in marks {
            timings.mark_at(*phase, *at_ns);
        }
        Boot { wall_ms, timings }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let d = Distribution::of((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((d.p50, d.p90, d.p99, d.min, d.max), (50.0, 90.0, 99.0, 1.0, 100.0));
        assert_eq!(Distribution::of(vec![7.0]).unwrap().p99, 7.0);
        assert_eq!(Distribution::of(vec![]), None);
    }

    #[test]
    fn a_phase_is_the_time_since_the_one_before() {
        let result = BenchResult::of(&[boot(9.0, &[(Phase::Begin, 1_000_000), (Phase::Parsed, 3_000_000)])]);
        assert_eq!(result.phases.len(), 1);
        assert_eq!((result.phases[0].phase, result.phases[0].ms.p50), (Phase::Parsed, 2.0));
        assert_eq!(result.vm_exits.unwrap().p50, 2000.0);
    }

    #[test]
    fn a_result_survives_being_saved() {
        let result = BenchResult::of(&[boot(9.0, &[(Phase::Begin, 0), (Phase::Parsed, 1_000_000)])]);
        let file = tempfile::NamedTempFile::new().unwrap();
        write_result(file.path(), &result).unwrap();
        assert_eq!(read_result(file.path()).unwrap(), result);
        std::fs::write(file.path(), b"{}").unwrap();
        assert!(read_result(file.path()).is_err());
    }
}
