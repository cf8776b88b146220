//! Virtqueue costs through virtio-blk: what a request costs beside the data, and what the data cost.
//!
//! Measures, never asserts. `cargo bench --bench queue`; compare with `--save-baseline` and `--baseline`.

use bottle_vmm::vmm::devices::virtio::blk::Block;
use bottle_vmm::vmm::devices::virtio::testing::{Buffer, FakeDriver};
use bottle_vmm::vmm::{DiskAccess, DiskSpec};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const READ: u32 = 0;
const FLUSH: u32 = 4;
const DISK_BYTES: u64 = 16 << 20;

/// A guest with a disk in the host's page cache.
fn guest() -> FakeDriver<Block> {
    let file = tempfile::tempfile().expect("a temporary file");
    file.set_len(DISK_BYTES).expect("a sparse file");
    FakeDriver::started(
        Block::new(DiskSpec { file, access: DiskAccess::ReadOnly }, Box::new(|_, _| ())).expect("the size of a file"),
    )
}

fn request(driver: &mut FakeDriver<Block>, kind: u32, length: usize) -> Vec<Buffer> {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    let mut chain = vec![driver.data(&header)];
    if length > 0 {
        chain.push(driver.room(length));
    }
    chain.push(driver.room(1));
    chain
}

/// Pop and give back, with next to nothing in between: a request of an unknown kind, and batches of it under one notification.
fn requests(criterion: &mut Criterion) {
    const UNKNOWN: u32 = 99;
    let mut group = criterion.benchmark_group("blk/request");
    for batch in [1usize, 8, 42] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            let mut driver = guest();
            let chain = request(&mut driver, UNKNOWN, 0);
            bencher.iter(|| {
                for _ in 0..batch {
                    driver.add(0, &chain);
                }
                driver.notify(0);
                driver.used(0)
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("flush", |bencher| {
        let mut driver = guest();
        let chain = request(&mut driver, FLUSH, 0);
        bencher.iter(|| driver.round_trip(0, &chain));
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blk/read");
    for length in [512usize, 4096, 65_536, 1 << 20] {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            let mut driver = guest();
            let chain = request(&mut driver, READ, length);
            bencher.iter(|| driver.round_trip(0, &chain));
        });
    }
    group.finish();
}

criterion_group!(benches, requests, reads);
criterion_main!(benches);
