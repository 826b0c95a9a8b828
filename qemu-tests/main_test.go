package qemutests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"
)

// bootTime is how long a node may take to be ready: some 40 s on the machines
// that this was written on, and emulation has bad days.
const bootTime = 4 * time.Minute

// shared is the node that most tests use, and the site around it that all use.
// The first test that asks for one makes it.
var shared struct {
	siteOnce, bootOnce sync.Once
	site               *lab.Site
	node               *lab.Node // booted by PXE
	siteErr, bootErr   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if n := shared.node; n != nil {
		if err := end(n); err != nil {
			fmt.Fprintf(os.Stderr, "--- FAIL: the shared node at the end: %v\n", err)
			code = 1
		}
		if code != 0 {
			fmt.Fprintln(os.Stderr, n.Report())
		}
		n.Stop()
	}
	if shared.site != nil {
		shared.site.Close()
		os.RemoveAll(shared.site.Dir)
	}
	os.Exit(code)
}

// outDir gives the build output, or skips.
func outDir(t testing.TB) string {
	t.Helper()
	out := os.Getenv("CASEMATE_OUT")
	if out == "" {
		t.Skip("CASEMATE_OUT does not name the output of `make image`")
	}
	return out
}

// openedSite gives the shared site.
func openedSite(t testing.TB) *lab.Site {
	t.Helper()
	out := outDir(t)
	shared.siteOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shared.site, shared.siteErr = openSite(ctx, out)
	})
	if shared.siteErr != nil {
		t.Fatalf("nothing to test with: %v", shared.siteErr)
	}
	return shared.site
}

// booted gives the shared node.
func booted(t *testing.T) *lab.Node {
	t.Helper()
	site := openedSite(t)
	shared.bootOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bootTime)
		defer cancel()
		cfg, err := site.Machine()
		if err == nil {
			shared.node, err = site.Boot(ctx, cfg)
		}
		shared.bootErr = err
	})
	if shared.bootErr != nil {
		t.Fatalf("no node to test: %v", shared.bootErr)
	}
	select {
	case <-shared.node.Done():
		t.Fatalf("the node that the tests share is off (%s)\n%s", shared.node.Ending(), shared.node.Report())
	default:
	}
	return shared.node
}

func openSite(ctx context.Context, out string) (*lab.Site, error) {
	tools, err := lab.OpenTools(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "casemate-test-")
	if err != nil {
		return nil, err
	}
	return lab.OpenSite(ctx, tools, out, dir)
}

// end is the last test of the shared node: nothing was denied that no test
// provoked, and the API powers it off.
func end(n *lab.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var log strings.Builder
	if err := n.Admin.Logs(ctx, &log, false); err != nil {
		return err
	}
	if err := n.Admin.Power(ctx, api.PowerOff); err != nil {
		return err
	}
	if err := n.Wait(ctx); err != nil {
		return err
	}
	if got := n.Ending(); got != "guest-shutdown" {
		return fmt.Errorf("the node was to power off; its end was %q", got)
	}
	text := log.String()
	for _, l := range n.Console.Lines() { // the shutdown is only here
		text += l.Text + "\n"
	}
	if strings.Contains(text, "records lost") || strings.Contains(text, "audit_lost=") {
		return errors.New("audit records were lost: that none is there proves nothing")
	}
	if d := lab.Records(text, provoked.list...); len(d) > 0 {
		return fmt.Errorf("%d denials that no test provoked:\n%s", len(d), strings.Join(d, "\n"))
	}
	return nil
}

// provoked are the denials that tests caused on purpose.
var provoked struct {
	sync.Mutex
	list []lab.Denial
}

func provoke(d lab.Denial) {
	provoked.Lock()
	defer provoked.Unlock()
	provoked.list = append(provoked.list, d)
}
