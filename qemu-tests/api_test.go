package qemutests

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casemate/cmd/casemate/pki"
	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"
)

// Without a certificate of the site's CA there is no conversation at all.
func TestUnknownClients(t *testing.T) {
	n := booted(t)
	// An admin, and of an authority of the same name; the key decides.
	foreign := t.TempDir()
	if err := pki.Init(foreign, time.Now(), n.Site.Config.Name, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, folder, client string }{
		{"no certificate", "", ""},
		{"foreign certificate", foreign, pki.AdminName},
		{"the node's own certificate", n.Site.PKI(), pki.NodeName},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := n.Client(c.folder, c.client)
			if err != nil {
				t.Fatal(err)
			}
			caps, err := client.Capabilities(t.Context())
			// The handshake fails: "remote error: tls: ...". Anything else, a
			// refused connection say, would not be the gateway's refusal.
			if err == nil || !strings.Contains(err.Error(), "tls:") {
				t.Errorf("Capabilities() = %+v, %v; want a TLS alert", caps, err)
			}
		})
	}
	if _, err := n.Admin.Capabilities(t.Context()); err != nil {
		t.Errorf("Capabilities() as admin: %v; want an answer", err)
	}
}

func TestRoles(t *testing.T) {
	n := booted(t)
	doc := n.Site.VM("by-viewer", n.Site.NFS.URL("a", "by-viewer/x.qcow2"))
	for _, role := range []api.Role{api.Viewer, api.Operator} {
		if err := pki.Issue(n.Site.PKI(), time.Now(), string(role), role); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		role api.Role
		what string
		do   func(*api.Client) error
		want int // HTTP status; 0 is success
	}{
		{api.Viewer, "list", func(c *api.Client) error { _, err := c.List(t.Context()); return err }, 0},
		{api.Viewer, "create", func(c *api.Client) error { _, err := c.Create(t.Context(), doc); return err }, 403},
		{api.Viewer, "start", func(c *api.Client) error { _, err := c.Start(t.Context(), "a"); return err }, 403},
		{api.Viewer, "console", func(c *api.Client) error { _, err := c.Console(t.Context(), "a"); return err }, 403},
		{api.Viewer, "power off", func(c *api.Client) error { return c.Power(t.Context(), api.PowerOff) }, 403},
		{api.Operator, "start", func(c *api.Client) error { _, err := c.Start(t.Context(), "not-there"); return err }, 404},
		{api.Operator, "power off", func(c *api.Client) error { return c.Power(t.Context(), api.PowerOff) }, 403},
		{api.Operator, "inspect", func(c *api.Client) error { _, err := c.Inspect(t.Context()); return err }, 403},
	} {
		client, err := n.Client(n.Site.PKI(), string(c.role))
		if err != nil {
			t.Fatal(err)
		}
		err = c.do(client)
		got := 0
		if p, ok := err.(*api.Problem); ok {
			got = p.Status
		} else if err != nil {
			t.Errorf("%s: %s: %v; want an answer", c.role, c.what, err)
			continue
		}
		if got != c.want {
			t.Errorf("%s: %s: status %d (%v); want %d", c.role, c.what, got, err, c.want)
		}
	}
}

// A document that is wrong is refused with words that name the fault, and
// changes nothing.
func TestBadDocuments(t *testing.T) {
	n := booted(t)
	hc, err := n.HTTP(n.Site.PKI(), pki.AdminName)
	if err != nil {
		t.Fatal(err)
	}
	good := n.Site.VM("taken", n.Site.NFS.URL("a", "bad/none.qcow2"))
	good.Disks = nil
	if _, err := n.Admin.Create(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	defer n.Admin.Delete(context.WithoutCancel(t.Context()), "taken")
	before := state(t, n)

	kernel := "kernel: {image: " + good.Kernel.Image + "}\n"
	for _, c := range []struct {
		name, query, doc string
		says             string // in the problem's words
	}{
		{"unknown field", "", "name: x\ncolour: red\n", "colour"},
		{"negative memory", "", "name: x\nmemory: -1\n", "memory"},
		{"no name", "", "memory: 64MiB\n", "name"},
		{"bad name", "", "name: ../x\n", "name"},
		{"too many CPUs", "", "name: x\ncpus: 100000\n", "cpus"},
		{"not YAML", "", "name: [x\n", "line 1"},
		{"two documents", "", "name: x\n---\nname: y\n", "document"},
		{"duplicate key", "", "name: x\nname: y\n", "name"},
		{"duplicate name", "", "name: taken\n", "taken"},
		{"label without categories", "", "name: x\nsecurity: {mode: static, label: 'system_u:system_r:svirt_t:s0'}\n", "label"},
		{"file of the node", "", "name: x\ndisks: [{volume: local/../../../etc/passwd}]\n", "volume"},
		{"missing volume", "?start=true", "name: x\n" + kernel + "disks: [{volume: '" + n.Site.NFS.URL("a", "such.qcow2") + "'}]\n", "such.qcow2"},
		{"missing directory", "?start=true", "name: x\n" + kernel + "disks: [{volume: '" + n.Site.NFS.URL("a", "nowhere/x.qcow2") + "'}]\n", "nowhere"},
		{"missing kernel", "?start=true", "name: x\nkernel: {image: local/no-such}\n", "no-such"},
		{"missing bridge", "?start=true", "name: x\n" + kernel + "nics: [{bridge: moon}]\n", "moon"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL()+"/v1/vms"+c.query, strings.NewReader(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/yaml")
			resp, err := hc.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode < 400 || resp.StatusCode > 499 || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("POST %q = %s %s, %s; want a problem document with 4xx", c.doc, resp.Status, resp.Header.Get("Content-Type"), body)
			}
			var p api.Problem
			if err := json.Unmarshal(body, &p); err != nil || !strings.Contains(strings.ToLower(p.Detail+string(body)), strings.ToLower(c.says)) {
				t.Errorf("POST %q says %s (%v); want the word %q", c.doc, body, err, c.says)
			}
			if after := state(t, n); !slices.Equal(after, before) {
				t.Errorf("POST %q: VMs were %q, are %q; want no change", c.doc, before, after)
			}
		})
	}
}

// state is what documents can change: VMs, their state and level.
func state(t *testing.T, n *lab.Node) []string {
	t.Helper()
	vms, err := n.Admin.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, vm := range vms {
		s = append(s, vm.Name+" "+string(vm.Status.State)+" "+vm.Status.Level)
	}
	return s
}
