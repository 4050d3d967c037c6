//! Wall time and CPU time of a number of calls.

use std::time::{Duration, Instant};

use capi_benches::cpu;

/// One measured kind of request.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// A call.
    pub(crate) wall: Duration,
    /// CPU of a call, all processes that serve it.
    pub(crate) cpu: Duration,
}

/// Measures from here on.
pub(crate) struct Meter<'m> {
    others: Option<&'m dyn Fn() -> Duration>,
    wall: Instant,
    cpu: Duration,
}

impl<'m> Meter<'m> {
    /// `others` is the CPU time of other processes that serve the calls.
    #[allow(clippy::disallowed_methods)] // measures the machine's time
    pub(crate) fn start(others: Option<&'m dyn Fn() -> Duration>) -> Self {
        Self {
            others,
            wall: Instant::now(),
            cpu: cpu() + others.map_or(Duration::ZERO, |others| others()),
        }
    }

    pub(crate) fn stop(self, name: &'static str, calls: usize) -> Row {
        let wall = self.wall.elapsed();
        let cpu = (cpu() + self.others.map_or(Duration::ZERO, |others| others()))
            .saturating_sub(self.cpu);
        let calls = u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        Row {
            name,
            wall: wall / calls,
            cpu: cpu / calls,
        }
    }
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

/// Prints the rows of each door beside each other, and ratios to the last one.
pub(crate) fn table(doors: &[(&str, Vec<Row>)]) {
    print!("{:<22}", "us a call (wall / CPU)");
    for (door, _) in doors {
        print!("{door:>24}");
    }
    println!();
    // The rows of the door that has most of them.
    let Some((_, longest)) = doors.iter().max_by_key(|(_, rows)| rows.len()) else {
        return;
    };
    for row in longest {
        print!("{:<22}", row.name);
        for (_, rows) in doors {
            let cell = rows.iter().find(|other| other.name == row.name);
            print!(
                "{:>24}",
                cell.map_or("-".to_owned(), |row| format!(
                    "{} / {}",
                    micros(row.wall),
                    micros(row.cpu)
                ))
            );
        }
        println!();
    }
    let Some((last, reference)) = doors.last().filter(|(door, _)| *door == "real") else {
        return;
    };
    println!("CPU of {last} by CPU of the others:");
    for row in reference {
        print!("{:<22}", row.name);
        for (_, rows) in &doors[..doors.len() - 1] {
            let cell = rows.iter().find(|other| other.name == row.name);
            let ratio = cell.map(|cell| row.cpu.as_secs_f64() / cell.cpu.as_secs_f64().max(1e-9));
            print!(
                "{:>24}",
                ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x"))
            );
        }
        println!();
    }
}
