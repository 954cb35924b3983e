use std::format;
use std::path::PathBuf;

use super::*;

/// A directory of this test's own, gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("scheduler-trace-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }

    fn read(&self) -> Result<Vec<Recording>, String> {
        let dir = format!("{}/", self.0.display());
        Recording::read_dir(&self.0, 25_000).map_err(|error| error.to_string().replace(&dir, ""))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // it may be gone, and is only litter
    }
}

const FUNCTIONS: &str = "\
fn,trigger,mem_mb,dur_p0_ms,dur_p1_ms,dur_p25_ms,dur_p50_ms,dur_p75_ms,dur_p99_ms,dur_p100_ms
a,timer,10.5,1,2,3,4,5,6,7
b,http,20,1,1,1,1,1,1,1
";

#[test]
fn the_shipped_traces_are_read_whole() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let found = Recording::read_dir(&dir, 25_000).unwrap();
    let sizes: Vec<_> = found
        .iter()
        .map(|recording| recording.trace(Arrivals::Equi, 7))
        .map(|trace| (trace.name.clone(), trace.services.len(), trace.requests()))
        .collect();
    assert_eq!(
        sizes,
        [
            ("azure2019_8h equi".to_string(), 334, 2_669_826),
            ("azure_llm2023_code".to_string(), 1, 8_819),
        ]
    );
}

#[test]
fn requests_of_several_services_are_told_apart_and_sorted() {
    let text = "t_us,service,mem_mb,duration_ms\n5,x,2,1.5\n3,y,4,1\n1,x,2,2\n";
    let dir = Dir::new("several", &[("own.csv", text), ("notes.csv", "a,b\n1,2\n")]);
    let trace = dir.read().unwrap()[0].trace(Arrivals::Clump, 1);
    let [x, y] = &trace.services[..] else {
        panic!("{trace:?}");
    };
    let request = |at_us, runs_us| TracedRequest { at_us, runs_us };
    assert_eq!(x.requests, [request(1, 2_000), request(5, 1_500)]);
    assert_eq!((y.memory_mb, trace.end_us()), (4.0, 5));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 6] = [
        (
            "value",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\na,0,1\nb,-1,2\n"),
            ],
            "x_invocations.csv:3: column minute is \"-1\", must be a whole number from 0",
        ),
        (
            "stranger",
            &[
                ("x_functions.csv", FUNCTIONS),
                ("x_invocations.csv", "fn,minute,count\nc,0,1\n"),
            ],
            "x_invocations.csv:2: column fn is \"c\", must be a function of the other file",
        ),
        (
            "partner",
            &[("x_functions.csv", FUNCTIONS)],
            "x_invocations.csv: no such file, partner of *_functions.csv",
        ),
        (
            "column",
            &[("r.csv", "t_us,size\n1,2\n")],
            "r.csv: no column duration_us, duration_ms, duration_s or generated_tokens",
        ),
        (
            "number",
            &[("r.csv", "t_us,duration_us\n1,NaN\n")],
            "r.csv:2: column duration_us is \"NaN\", must be a number from 0",
        ),
        (
            "short",
            &[("r.csv", "t_us,duration_us\n1\n")],
            "r.csv:2: column duration_us is \"\", must be a number from 0",
        ),
    ];
    for (name, files, expected) in cases {
        assert_eq!(Dir::new(name, files).read().err().as_deref(), Some(expected));
    }
}

#[test]
fn a_directory_without_traces_says_what_was_looked_for() {
    let dir = Dir::new("empty", &[("notes.txt", "t_us")]);
    let told = Recording::read_dir(&dir.0, 1).unwrap_err().to_string();
    assert!(told.ends_with("no *_functions.csv with its *_invocations.csv, and no *.csv with a column t_us"));
}
