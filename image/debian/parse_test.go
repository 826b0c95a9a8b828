package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostSources(t *testing.T) {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	tests := []struct {
		name  string
		files map[string]string
		want  []Source // nil: an error
	}{
		{"deb822", map[string]string{"sources.list.d/debian.sources": "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: " + keyring + "\n\nTypes: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By: " + keyring + "\n"},
			[]Source{{"http://mirror.example/debian", "trixie"}, {"http://mirror.example/debian", "trixie-updates"}, {"http://mirror.example/debian-security", "trixie-security"}}},
		{"one-line", map[string]string{"sources.list": "# deb http://old.example/debian trixie main\ndeb [ arch=amd64 signed-by=" + keyring + " ] http://mirror.example/debian trixie main contrib # ours\ndeb-src http://src.example/debian trixie main\n"},
			[]Source{{"http://mirror.example/debian", "trixie"}, {"http://mirror.example/debian", "trixie-updates"}}},
		{"no key named", map[string]string{"sources.list": "deb http://mirror.example/debian trixie main\n"},
			[]Source{{"http://mirror.example/debian", "trixie"}, {"http://mirror.example/debian", "trixie-updates"}}},
		{"ours before others without key", map[string]string{
			"sources.list.d/a.list": "deb https://vendor.example/apt stable main\n",
			"sources.list.d/b.list": "deb http://mirror.example/debian trixie main\n"},
			[]Source{{"http://mirror.example/debian", "trixie"}, {"http://mirror.example/debian", "trixie-updates"}}},
		{"third party", map[string]string{"sources.list.d/v.list": "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/debian trixie main\n"}, nil},
		{"inline key", map[string]string{"sources.list.d/v.sources": "Types: deb\nURIs: https://vendor.example/debian\nSuites: trixie\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"}, nil},
		{"disabled", map[string]string{"sources.list.d/d.sources": "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"}, nil},
		{"other suffix", map[string]string{"sources.list.d/d.sources.disabled": "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"}, nil},
		{"cdrom", map[string]string{"sources.list": "deb cdrom:[Debian]/ trixie main\n"}, nil},
		{"none", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			etc := t.TempDir()
			if err := os.Mkdir(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range test.files {
				if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := HostSources(etc, "trixie")
			if (err != nil) != (test.want == nil) {
				t.Fatalf("HostSources = %v, %v; want %v", got, err, test.want)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("HostSources (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParsePrintURIs(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	got, err := parsePrintURIs("Reading...\n'http://m/libc6.deb' libc6_1%3a2.41-12+deb13u4_amd64.deb 2846580 SHA256:" + digest + "\n")
	want := []Package{{Name: "libc6", Version: "1:2.41-12+deb13u4", Arch: "amd64", SHA256: digest, Size: 2846580}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("parsePrintURIs: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{
		"",
		"'http://m/a.deb' a_1_amd64.deb 1\n",
		"'http://m/a.deb' a_1_amd64.deb 1 MD5Sum:" + digest + "\n",
		"'http://m/a.deb' a_1_amd64.deb 1 SHA256:" + digest[1:] + "\n",
		"'http://m/a.deb' a_1_amd64.deb x SHA256:" + digest + "\n",
		"'http://m/a.deb' a_1.deb 1 SHA256:" + digest + "\n",
	} {
		if got, err := parsePrintURIs(bad); err == nil {
			t.Errorf("parsePrintURIs(%q) = %v; want an error", bad, got)
		}
	}
}

func FuzzParsePrintURIs(f *testing.F) {
	f.Add("'u' a_1_amd64.deb 1 SHA256:" + strings.Repeat("0", 64) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		packages, err := parsePrintURIs(text)
		for _, p := range packages {
			if err == nil && !isHexDigest(p.SHA256) {
				t.Errorf("package %+v without a digest", p)
			}
		}
	})
}

func FuzzHostEntries(f *testing.F) {
	f.Add("deb [signed-by=x] http://m/debian trixie main\n")
	f.Add("Types: deb\nURIs: http://m\n debian\nSuites: trixie\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		best(append(parseList(text), parseDeb822(text)...), false)
	})
}

func TestAptErrors(t *testing.T) {
	const summary = "E: Some index files failed to download. They have been ignored, or old ones used instead.\n"
	tests := []struct {
		stderr      string
		unreachable bool
		enospc      bool
	}{
		{"E: Failed to fetch http://m/dists/trixie/InRelease  Could not connect to m:80 (1.2.3.4). - connect (111: Connection refused)\n" + summary, true, false},
		{"W: Failed to fetch http://m/InRelease  Temporary failure resolving 'm'\n" + summary, true, false},
		{"E: The repository 'http://m trixie InRelease' is not signed.\n", false, false},
		{"E: Failed to fetch http://m/InRelease  Could not connect to m:80\nW: GPG error: http://m trixie InRelease: BADSIG 1234\n", false, false},
		{"E: Failed to fetch http://m/Packages  Hash Sum mismatch\n   Hashes of expected file:\n" + summary, false, false},
		{"E: Failed to fetch http://m/Packages  404  Not Found\n" + summary, false, false},
		{"E: Failed to fetch http://m/InRelease  Could not connect to m:80\nE: Something new\n", false, false},
		{"E: Write error - write (28: No space left on device)\n", false, true},
		{"", false, false},
	}
	for _, test := range tests {
		e := &aptError{Op: "update", Complaints: complaints(test.stderr), Err: errors.New("exit status 100")}
		if got := e.unreachable(); got != test.unreachable {
			t.Errorf("unreachable(%q) = %v; want %v", test.stderr, got, test.unreachable)
		}
		if got := errors.Is(e, syscall.ENOSPC); got != test.enospc {
			t.Errorf("%q is ENOSPC: %v; want %v", test.stderr, got, test.enospc)
		}
	}
}

// A .deb is signed, and yet nothing that is in one gets out of the tree.
func TestUntarStaysInside(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
	}{
		{"dots", []tar.Header{{Name: "../evil", Typeflag: tar.TypeReg}}},
		{"link out", []tar.Header{
			{Name: "./out", Typeflag: tar.TypeSymlink, Linkname: "../.."},
			{Name: "./out/evil", Typeflag: tar.TypeReg}}},
		{"absolute link", []tar.Header{
			{Name: "./out", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
			{Name: "./out/evil", Typeflag: tar.TypeReg}}},
		{"hard link out", []tar.Header{{Name: "./passwd", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}}},
		{"one file twice", []tar.Header{{Name: "./a", Typeflag: tar.TypeReg}, {Name: "./a", Typeflag: tar.TypeReg}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range test.entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			root, err := makeRoot(filepath.Join(t.TempDir(), "root"))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if files, err := untar(&archive, root); err == nil {
				t.Errorf("untar = %v; want an error", files)
			}
		})
	}
}

func TestDefaultCache(t *testing.T) {
	temp := t.TempDir()
	for _, name := range []string{"CASEMATE_CACHE", "XDG_CACHE_HOME", "HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("TMPDIR", temp)
	dir, err := DefaultCache()
	if err != nil || filepath.Dir(dir) != temp {
		t.Fatalf("DefaultCache without HOME = %q, %v; want a directory in %s", dir, err, temp)
	}
	if again, err := DefaultCache(); again != dir {
		t.Errorf("second DefaultCache = %q, %v; want %q", again, err, dir)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if dir, err := DefaultCache(); err == nil {
		t.Errorf("DefaultCache = %q though others can write to it; want an error", dir)
	}
	t.Setenv("CASEMATE_CACHE", temp+"/mine")
	if dir, err := DefaultCache(); dir != temp+"/mine" {
		t.Errorf("DefaultCache = %q, %v; want $CASEMATE_CACHE", dir, err)
	}
}

func TestDiskFull(t *testing.T) {
	err := explainSpace(checkSpace(t.TempDir(), 1<<62), "CACHE")
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk full") || !strings.Contains(err.Error(), "CACHE") {
		t.Errorf("checkSpace = %v; want ENOSPC, named disk full, with the cache's name", err)
	}
}
