package qemutests

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"

	"github.com/u-root/u-root/pkg/cpio"
)

func TestPXEBoot(t *testing.T) {
	n := booted(t)
	if n.Ready.Node != n.Site.Config.Name || n.Ready.Permissive {
		t.Errorf("ready line says %+v; want node %s, not permissive", n.Ready, n.Site.Config.Name)
	}
	policy, err := os.ReadFile(filepath.Join(n.Site.Out, "policy", "policy.33"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("sha256:%x", sha256.Sum256(policy))
	if n.Ready.Policy != want {
		t.Errorf("ready line says policy=%s; want %s, of the file in the image", n.Ready.Policy, want)
	}
	caps, err := n.Admin.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := caps.Security; s.Model != "selinux" || !s.Enforcing || s.Policy != (api.Policy{Version: 33, Digest: want}) {
		t.Errorf("capabilities say security %+v; want selinux, enforcing, version 33, digest %s", s, want)
	}
	if !caps.KVM {
		t.Error("capabilities say that there is no KVM; want the emulated SVM")
	}
	t.Logf("ready %.1f s after the kernel's start, %.1f s after power-on", n.Ready.Uptime, readyAt(n))
}

func readyAt(n *lab.Node) float64 {
	for _, l := range n.Console.Find(lab.ReadyLine) {
		return l.At.Seconds()
	}
	return 0
}

// A node that is not under the shipped policy, enforcing, must not come up.
func TestRefusesToBoot(t *testing.T) {
	out := outDir(t)
	for _, c := range []struct {
		name     string
		edit     func(words []string) []string
		segments [][]byte
		says     string // what the console must say, as a regular expression
	}{
		{
			name:     "corrupt policy",
			segments: [][]byte{lab.Archive(cpio.StaticFile("policy.33", "this is no policy", 0o644))},
			says:     `casemate: FATAL: policy /policy.33: `,
		}, {
			name:     "policy cut short",
			segments: [][]byte{lab.Archive(cpio.StaticFile("policy.33", head(t, filepath.Join(out, "policy", "policy.33")), 0o644))},
			says:     `casemate: FATAL: load policy /policy.33 `, // the kernel refuses it
		}, {
			name: "without enforcing=1",
			edit: func(words []string) []string {
				return slices.DeleteFunc(words, func(w string) bool { return w == "enforcing=1" })
			},
			says: `casemate: FATAL: SELinux is permissive`,
		}, {
			name: "another LSM",
			edit: func(words []string) []string {
				return append(slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "security=") }), "security=apparmor")
			},
			says: `casemate: FATAL: .*selinux`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := openedSite(t)
			ctx, cancel := context.WithTimeout(t.Context(), bootTime)
			defer cancel()
			cfg, err := site.Machine()
			if err != nil {
				t.Fatal(err)
			}
			cfg.Name, cfg.Memory = "refusing", 2048
			if cfg, err = site.Direct(cfg, c.edit, c.segments...); err != nil {
				t.Fatal(err)
			}
			m, err := lab.Start(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			cleanup(t, m)
			if _, err := m.Console.Expect(ctx, c.says); err != nil {
				t.Error(err)
			}
			if err := m.Wait(ctx); err != nil {
				t.Errorf("%v; want it to power off by itself", err)
			}
			if got := m.Ending(); got != "guest-shutdown" {
				t.Errorf("the machine's end was %q; want guest-shutdown", got)
			}
			if r := m.Console.Find(lab.ReadyLine); len(r) > 0 {
				t.Errorf("it came up: %v", r[0])
			}
		})
	}
}

func head(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:len(b)/2])
}

// The ways for a node to end that the shared node does not take: the ACPI power
// button and a reboot by the API. Nothing is denied on the way.
func TestEnding(t *testing.T) {
	t.Run("power button", func(t *testing.T) {
		testEnding(t, func(_ context.Context, n *lab.Node) error { return n.PowerButton() }, "guest-shutdown")
	})
	t.Run("reboot", func(t *testing.T) {
		testEnding(t, func(ctx context.Context, n *lab.Node) error { return n.Admin.Power(ctx, api.Reboot) }, "guest-reset")
	})
}

// Configuration from a URL, and one that is wrong: the node must not take a
// default for it, and must stay up to say so.
func TestConfiguration(t *testing.T) {
	t.Run("URL", func(t *testing.T) {
		n, ctx := bootWith(t, "name: by-url\n")
		line, err := n.Console.Expect(ctx, `casemate: ready node=by-url .*`)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(line[0])
	})
	t.Run("wrong", func(t *testing.T) {
		n, ctx := bootWith(t, "name: by-url\nnetwrok: {}\n")
		if _, err := n.Console.Expect(ctx, `casemate: NOT READY: .*netwrok: unknown field`); err != nil {
			t.Fatal(err)
		}
		if r := n.Console.Find(lab.ReadyLine); len(r) > 0 {
			t.Errorf("it came up: %v", r[0])
		}
		if err := n.PowerButton(); err != nil { // still there, and minded
			t.Fatal(err)
		}
		if err := n.Wait(ctx); err != nil {
			t.Error(err)
		}
	})
}

// bootWith starts a machine that fetches this document.
func bootWith(t *testing.T, document string) (*lab.Machine, context.Context) {
	site := openedSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	t.Cleanup(cancel)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.yaml"), []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := lab.ServeMedia(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	cfg, err := site.Machine()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Memory, cfg.NodeConfig = "configured", 1024, nil
	if cfg, err = site.Direct(cfg, func(words []string) []string {
		return append(words, "casemate.config="+server.URL("node.yaml"))
	}); err != nil {
		t.Fatal(err)
	}
	m, err := lab.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, m)
	return m, ctx
}

func testEnding(t *testing.T, ask func(context.Context, *lab.Node) error, want string) {
	site := openedSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	cfg, err := site.Machine()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Memory = "ending", 1024
	if cfg, err = site.Direct(cfg, nil); err != nil {
		t.Fatal(err)
	}
	n, err := site.Boot(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, n.Machine)
	asked := time.Now()
	if err := ask(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := n.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if got := n.Ending(); got != want {
		t.Errorf("the machine's end was %q; want %s", got, want)
	}
	t.Logf("%s %.1f s after it was asked", want, time.Since(asked).Seconds())
	for _, l := range n.Console.Lines() {
		for _, d := range lab.Records(l.Text) {
			t.Errorf("denied: %s", d)
		}
	}
}

// cleanup stops a machine at the end of a test and, if that failed, shows it.
func cleanup(t *testing.T, m *lab.Machine) {
	t.Cleanup(func() {
		m.Stop()
		if t.Failed() {
			t.Log(m.Report())
		}
	})
}
