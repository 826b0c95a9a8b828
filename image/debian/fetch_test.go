package debian

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is a copy of testdata/repo on a loopback HTTP server.
type mirror struct {
	dir     string
	server  *httptest.Server
	keyring string // of the archive's key
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("this host has no apt-get")
	}
	// What the host's configuration says about proxies is not for loopback.
	t.Setenv("no_proxy", "127.0.0.1")
	m := &mirror{dir: t.TempDir()}
	if err := os.CopyFS(m.dir, os.DirFS("testdata/repo")); err != nil {
		t.Fatal(err)
	}
	m.server = httptest.NewServer(http.FileServer(http.Dir(m.dir)))
	t.Cleanup(m.server.Close)
	// A copy: apt takes no path with a blank, and the clone may be anywhere.
	m.keyring = filepath.Join(t.TempDir(), "keyring.gpg")
	b, err := os.ReadFile("testdata/keyring.gpg")
	if err == nil {
		err = os.WriteFile(m.keyring, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fetcher gives a fetcher with the cache dir; every call a fresh one, as every
// build has.
func (m *mirror) fetcher(dir string) *Fetcher {
	return &Fetcher{Cache: dir, Sources: []Source{{m.server.URL, "trixie"}}, Keyring: m.keyring}
}

// tamper replaces text in one of the mirror's files.
func (m *mirror) tamper(t *testing.T, name, old, new string) {
	t.Helper()
	file := filepath.Join(m.dir, name)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(data, []byte(old), []byte(new), 1)
	if bytes.Equal(changed, data) {
		t.Fatalf("%s has no %q", name, old)
	}
	if err := os.WriteFile(file, changed, 0o644); err != nil {
		t.Fatal(err)
	}
}

var hello = Set{Name: "test", Packages: []string{"hello"}}

func ensure(t *testing.T, f *Fetcher) *Tree {
	t.Helper()
	tree, err := f.Ensure(context.Background(), hello)
	if err != nil {
		t.Fatalf("Ensure(hello) = %v; want a tree", err)
	}
	return tree
}

func TestEnsure(t *testing.T) {
	m, cache := newMirror(t), t.TempDir()
	tree := ensure(t, m.fetcher(cache))
	if len(tree.Packages) != 2 || tree.Packages[0].Name != "hello" || tree.Packages[1].Name != "libhello" {
		t.Fatalf("packages = %+v; want hello and, as it depends on it, libhello", tree.Packages)
	}
	if p := tree.Packages[0]; p.Version != "1:1.0-1" || p.Arch != "amd64" || len(p.SHA256) != 64 {
		t.Errorf("package = %+v; want version 1:1.0-1, amd64, a digest", p)
	}
	p, f, ok := tree.Owner("lib/x86_64-linux-gnu/libhello.so.1")
	if !ok || p.Name != "libhello" || f.Size != int64(len("library\n")) || f.Exec {
		t.Errorf("Owner(lib/.../libhello.so.1) = %v %+v %v; want libhello, 8 bytes, not executable", p.Name, f, ok)
	}
	if data, err := os.ReadFile(tree.Path("usr/lib/x86_64-linux-gnu/libhello.so.1")); err != nil || string(data) != "library\n" {
		t.Errorf("file unpacked through the merged /usr = %q, %v; want library", data, err)
	}
	if _, f, _ := tree.Owner("usr/bin/hi"); f.Link != "hello" {
		t.Errorf("usr/bin/hi links to %q; want hello", f.Link)
	}
	info, err := os.Stat(tree.Path("usr/bin/hullo"))
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("usr/bin/hullo, a hard link with the set-uid bit: %v, %v; want -rwxr-xr-x", info.Mode(), err)
	}
	for name, want := range map[string]bool{"usr/share/doc/hello/README": false, "usr/share/doc/hello/copyright": true} {
		if _, _, ok := tree.Owner(name); ok != want {
			t.Errorf("%s unpacked: %v; want %v", name, ok, want)
		}
	}
	out, err := tree.Command(context.Background(), "hello", "world").Output()
	if err != nil || string(out) != "hello world\n" {
		t.Errorf("Command(hello, world) = %q, %v; want hello world", out, err)
	}

	// The second build asks nobody.
	m.server.Close()
	if again := ensure(t, m.fetcher(cache)); again.Root != tree.Root {
		t.Errorf("second Ensure gives %s; want the tree of the first, %s", again.Root, tree.Root)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		tamper func(t *testing.T, m *mirror, f *Fetcher)
		want   string
	}{
		{"release changed", func(t *testing.T, m *mirror, f *Fetcher) {
			m.tamper(t, "dists/trixie/InRelease", "Origin: casemate", "Origin: evilmate")
		}, "refuse the package lists"},
		{"release unsigned", func(t *testing.T, m *mirror, f *Fetcher) {
			os.Remove(filepath.Join(m.dir, "dists/trixie/InRelease"))
			os.WriteFile(filepath.Join(m.dir, "dists/trixie/Release"), []byte("Suite: trixie\nCodename: trixie\nDate: Wed, 01 Jan 2025 00:00:00 UTC\n"), 0o644)
		}, "refuse the package lists"},
		{"another key", func(t *testing.T, m *mirror, f *Fetcher) {
			var err error
			if f.Keyring, err = hostKeyring(); err != nil {
				t.Skip(err)
			}
		}, "refuse the package lists"},
		{"package list changed", func(t *testing.T, m *mirror, f *Fetcher) {
			m.tamper(t, "dists/trixie/main/binary-amd64/Packages", "Depends: libhello", "Depends: libevil!")
		}, "refuse the package lists"},
		{"package changed", func(t *testing.T, m *mirror, f *Fetcher) {
			file := filepath.Join(m.dir, "pool/libhello.deb")
			data, _ := os.ReadFile(file)
			data[len(data)-1] ^= 1
			os.WriteFile(file, data, 0o644)
		}, "fetch package libhello 1:1.0-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, cache := newMirror(t), t.TempDir()
			f := m.fetcher(cache)
			test.tamper(t, m, f)
			tree, err := f.Ensure(context.Background(), hello)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Ensure = %v, %v; want an error with %q", tree, err, test.want)
			}
			if trees, _ := filepath.Glob(cache + "/trees/*"); len(trees) > 0 {
				t.Errorf("trees in the cache: %v; want none", trees)
			}
			if test.name != "package changed" {
				if lists, _ := filepath.Glob(cache + "/lists/*"); len(lists) > 0 {
					t.Errorf("lists in the cache: %v; want none", lists)
				}
			}
		})
	}
}

// Old lists must not stand in for ones whose signature is bad.
func TestBadSignatureIsNoOutage(t *testing.T) {
	m, cache := newMirror(t), t.TempDir()
	ensure(t, m.fetcher(cache))
	m.tamper(t, "dists/trixie/InRelease", "Origin: casemate", "Origin: evilmate")
	f := m.fetcher(cache)
	f.Update = true
	if _, err := f.Ensure(context.Background(), hello); err == nil || !strings.Contains(err.Error(), "refuse") {
		t.Errorf("Ensure with good old lists and a tampered new release = %v; want a refusal", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Run("empty cache", func(t *testing.T) {
		m := newMirror(t)
		m.server.Close()
		_, err := m.fetcher(t.TempDir()).Ensure(context.Background(), hello)
		if err == nil || !strings.Contains(err.Error(), "fetch package hello") || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("Ensure = %v; want an error that names hello and the mirror", err)
		}
	})
	t.Run("full cache", func(t *testing.T) {
		m, cache := newMirror(t), t.TempDir()
		ensure(t, m.fetcher(cache))
		lists, _ := filepath.Glob(cache + "/lists/*/sources.list")
		old := time.Now().Add(-2 * listsAge)
		if err := os.Chtimes(lists[0], old, old); err != nil {
			t.Fatal(err)
		}
		m.server.Close()
		f, notes := m.fetcher(cache), ""
		f.Note = func(s string) { notes += s }
		ensure(t, f)
		if !strings.Contains(notes, "cannot be reached") {
			t.Errorf("notes = %q; want one that says that the mirror cannot be reached", notes)
		}
	})
	t.Run("lists without packages", func(t *testing.T) {
		m, cache := newMirror(t), t.TempDir()
		ensure(t, m.fetcher(cache))
		m.server.Close()
		if err := errors.Join(os.RemoveAll(cache+"/trees"), os.RemoveAll(cache+"/debs")); err != nil {
			t.Fatal(err)
		}
		_, err := m.fetcher(cache).Ensure(context.Background(), hello)
		if err == nil || !strings.Contains(err.Error(), "fetch package hello 1:1.0-1: the mirror cannot be reached") {
			t.Errorf("Ensure = %v; want an error that names hello and the mirror", err)
		}
	})
}

func TestCachedPackageDamaged(t *testing.T) {
	m, cache := newMirror(t), t.TempDir()
	tree := ensure(t, m.fetcher(cache))
	if err := os.RemoveAll(cache + "/trees"); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(cache, "debs", tree.Packages[1].SHA256+".deb")
	if err := os.WriteFile(deb, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := m.fetcher(cache).Ensure(context.Background(), hello)
	if err == nil || !strings.Contains(err.Error(), "unpack package libhello") || !strings.Contains(err.Error(), deb) {
		t.Errorf("Ensure = %v; want an error that names libhello and %s", err, deb)
	}
}

func TestUnknownPackage(t *testing.T) {
	m := newMirror(t)
	_, err := m.fetcher(t.TempDir()).Ensure(context.Background(), Set{"test", []string{"hello", "nonesuch"}})
	if err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("Ensure = %v; want an error that names nonesuch", err)
	}
}

func TestNoApt(t *testing.T) {
	m := newMirror(t)
	t.Setenv("PATH", t.TempDir())
	_, err := m.fetcher(t.TempDir()).Ensure(context.Background(), hello)
	if err == nil || !strings.Contains(err.Error(), "find apt-get") {
		t.Errorf("Ensure = %v; want an error that names apt-get", err)
	}
}

func TestSideBySide(t *testing.T) {
	m, cache := newMirror(t), t.TempDir()
	var builds sync.WaitGroup
	for range 4 {
		builds.Go(func() {
			tree, err := m.fetcher(cache).Ensure(context.Background(), hello)
			if err != nil {
				t.Errorf("Ensure = %v; want a tree", err)
			} else if _, err := os.Stat(tree.Path("usr/bin/hello")); err != nil {
				t.Error(err)
			}
		})
	}
	builds.Wait()
}
