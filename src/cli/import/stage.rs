//! Reads the files and keeps their lines in the database's temporary table, a batch at a time: one
//! thread reads while the batch before is being kept, and no more than a few are ever in memory.
//!
//! A line whose pool cannot be told, and one of usage or payments that cannot be read, is refused
//! here; all else is decided when the lines of a pool are read back together.

use std::path::PathBuf;

use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Files;
use super::cells::{PAYMENTS, Table, USAGE};
use super::findings::{BadLine, BadLines};
use super::opening::pool_of;
use super::reader::{FileLine, Reader};
use crate::ledger::{Label, PoolId, PoolName, TenantId};
use crate::store::{Source, StagedLine, Staging};

/// How many lines are kept at once.
const BATCH: usize = 5_000;
/// How many bytes they have at most, about.
const BATCH_BYTES: usize = 4 << 20;
/// How many batches wait.
const WAITING: usize = 2;
/// How much of a pool's name is told when it is none.
const TOLD: usize = 100;

/// What was read.
#[derive(Default)]
pub struct Staged {
    /// Tells these files from all others.
    pub content: [u8; 32],
    /// How many pools they are about, lines that say none included.
    pub pools: u64,
    /// How many lines of the pools say none.
    pub nameless: u64,
    /// How many lines of usage and payments cannot be read, or say no pool.
    pub unreadable: u64,
}

/// One file.
#[derive(Clone)]
struct OneFile {
    source: Source,
    table: &'static Table,
    path: PathBuf,
    tenant: TenantId,
}

/// What was read of a file at a time.
#[derive(Default)]
struct Batch {
    lines: Vec<StagedLine>,
    bad: Vec<BadLine>,
    bytes: usize,
}

/// Reads all files.
///
/// # Errors
/// A file cannot be read, or the database is away.
pub async fn stage(
    staging: &mut Staging,
    tenant: TenantId,
    files: &Files,
    pools: &'static Table,
    bad: &mut BadLines,
) -> anyhow::Result<Staged> {
    let progress = ProgressBar::new_spinner();
    let mut content = Sha256::new();
    let mut staged = Staged::default();
    let tables = [
        (Source::Pools, pools),
        (Source::Usage, &USAGE),
        (Source::Payments, &PAYMENTS),
    ];
    for (source, table) in tables {
        let Some(path) = files.path(source).cloned() else {
            continue;
        };
        let file = OneFile {
            source,
            table,
            path,
            tenant,
        };
        let (sender, batches) = channel(WAITING);
        let reading = tokio::task::spawn_blocking(move || read(&file, &sender));
        let kept = keep(staging, batches, bad, &progress).await;
        // What the reader says comes first: without it nobody knows why the batches ended.
        let hash = reading.await??;
        let (lines, refused) = kept?;
        if source == Source::Pools {
            staged.pools = lines + refused;
            staged.nameless = refused;
        } else {
            staged.unreadable += refused;
        }
        content.update(table.what);
        content.update(hash);
    }
    progress.set_message("sorting the lines by pool");
    staging.finish().await?;
    progress.finish_and_clear();
    staged.content = content.finalize().into();
    Ok(staged)
}

/// Keeps what is read; gives how many lines were kept, and how many were refused.
async fn keep(
    staging: &mut Staging,
    mut batches: Receiver<Batch>,
    bad: &mut BadLines,
    progress: &ProgressBar,
) -> anyhow::Result<(u64, u64)> {
    let (mut kept, mut refused) = (0, 0);
    while let Some(batch) = batches.recv().await {
        staging.add(&batch.lines).await?;
        kept += batch.lines.len() as u64;
        for line in batch.bad {
            refused += 1;
            bad.add(line)?;
        }
        progress.set_message(format!("{kept} lines read"));
        progress.tick();
    }
    Ok((kept, refused))
}

fn read(file: &OneFile, batches: &Sender<Batch>) -> anyhow::Result<[u8; 32]> {
    let mut reader = Reader::open(&file.path, file.table)?;
    let mut batch = Batch::default();
    while let Some(line) = reader.next_line()? {
        match file.line(line)? {
            Ok(line) => {
                batch.bytes += line.cells.len();
                batch.lines.push(line);
            }
            Err(bad) => {
                batch.bytes += bad.reason.len();
                batch.bad.push(bad);
            }
        }
        let is_full = batch.lines.len() + batch.bad.len() == BATCH || batch.bytes >= BATCH_BYTES;
        if is_full && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            // Nobody keeps them any more, and says why.
            return Ok([0; 32]);
        }
    }
    let _ = batches.blocking_send(batch);
    Ok(reader.finish())
}

impl OneFile {
    /// A line as it is kept, or a bad one: when nobody can tell which pool it is about, or what a
    /// line of usage or payments says of it.
    fn line(&self, line: FileLine) -> anyhow::Result<Result<StagedLine, BadLine>> {
        let pool = pool_of(&line.texts);
        let name = match (pool.trim().parse::<PoolName>(), &line.problem) {
            (Ok(name), None) => name,
            (Ok(name), Some(_)) if self.source == Source::Pools => name,
            (_, Some(problem)) => return Ok(Err(self.bad(line.number, &pool, problem.clone()))),
            (Err(error), None) => {
                let reason = match pool.trim() {
                    "" => "pool is needed".to_owned(),
                    _ => format!("pool {error}"),
                };
                return Ok(Err(self.bad(line.number, &pool, reason)));
            }
        };
        let mut texts = line.texts;
        texts[0] = Some(name.to_string());
        // One that is none is told when the line is read, and cannot be the same as another.
        let reference = match self.source {
            Source::Payments => texts[1].as_deref().and_then(|it| it.parse::<Label>().ok()),
            Source::Pools | Source::Usage => None,
        };
        Ok(Ok(StagedLine {
            source: self.source,
            line: line.number,
            pool: PoolId::of(self.tenant, &name),
            reference: reference.map(|it| it.to_string()),
            cells: serde_json::to_string(&texts)?,
            problem: line.problem.map(|it| it.replace('\0', "")),
            twin: None,
        }))
    }

    fn bad(&self, line: i64, pool: &str, reason: String) -> BadLine {
        BadLine {
            file: self.path.display().to_string(),
            line,
            pool: pool.chars().take(TOLD).collect(),
            reason,
        }
    }
}
