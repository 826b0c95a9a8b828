package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"
	"casemate/vmhost/spec"

	"github.com/google/go-cmp/cmp"
)

// as sets the headers that the gateway would.
type as struct{ role api.Role }

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(api.HeaderUser, "someone")
	if a.role != "" {
		r.Header.Set(api.HeaderRole, string(a.role))
	}
	return http.DefaultTransport.RoundTrip(r)
}

func serve(t *testing.T, m api.Manager) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(api.NewServer(m))
	t.Cleanup(srv.Close)
	return srv
}

func client(srv *httptest.Server, role api.Role) *api.Client {
	return api.NewClient(srv.URL, &http.Client{Transport: as{role}})
}

// post sends a document as an admin and gives status and problem.
func post(t *testing.T, url, contentType, body string) (int, api.Problem) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return roundTrip(t, req)
}

func roundTrip(t *testing.T, req *http.Request) (int, api.Problem) {
	t.Helper()
	resp, err := (&http.Client{Transport: as{api.Admin}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p api.Problem
	if resp.StatusCode >= 400 {
		if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("%s %s: %d with content type %q; want a problem document", req.Method, req.URL, resp.StatusCode, ct)
		}
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Errorf("%s %s: %v", req.Method, req.URL, err)
		}
		if p.Status != resp.StatusCode {
			t.Errorf("%s %s: status %d in the document of a %d", req.Method, req.URL, p.Status, resp.StatusCode)
		}
	}
	return resp.StatusCode, p
}

func status(err error) int {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

func TestLifeOfAVM(t *testing.T) {
	ctx := t.Context()
	c := client(serve(t, &apitest.Fake{}), api.Operator)
	if vms, err := c.List(ctx); err != nil || vms == nil || len(vms) != 0 {
		t.Errorf("List() of nothing = %#v, %v; want an empty list", vms, err)
	}
	doc := spec.VM{Name: "web-1", Memory: 2 << 30, Disks: []spec.Disk{{Volume: "nfs://filer/e/root.qcow2"}}}
	vm, err := c.Create(ctx, doc)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	want := doc
	want.Disks = []spec.Disk{{Volume: "nfs://filer/e/root.qcow2"}}
	want.SetDefaults()
	if diff := cmp.Diff(want, vm.VM); diff != "" {
		t.Errorf("Create: document (-want +got):\n%s", diff)
	}
	if _, err := c.Create(ctx, doc); status(err) != http.StatusConflict {
		t.Errorf("Create twice: %v; want 409", err)
	}
	for _, step := range []struct {
		verb string
		do   func(context.Context, string) (api.VM, error)
		want api.State
	}{
		{"start", c.Start, api.Running}, {"pause", c.Pause, api.Paused}, {"resume", c.Resume, api.Running},
		{"reset", c.Reset, api.Running}, {"shutdown", c.Shutdown, api.Shutdown}, {"stop", c.Stop, api.Shutoff},
	} {
		vm, err := step.do(ctx, "web-1")
		if err != nil || vm.Status.State != step.want {
			t.Errorf("%s = %s, %v; want %s", step.verb, vm.Status.State, err, step.want)
		}
	}
	if got, err := c.Get(ctx, "web-1"); err != nil || got.Status.Level != vm.Status.Level {
		t.Errorf("Get = %+v, %v; want level %s", got, err, vm.Status.Level)
	}
	if err := c.Delete(ctx, "web-1"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := c.Get(ctx, "web-1"); status(err) != http.StatusNotFound || err.Error() != `no VM "web-1" on this node` {
		t.Errorf("Get after Delete: %v; want 404", err)
	}
}

func TestBadDocumentsChangeNothing(t *testing.T) {
	fake := &apitest.Fake{}
	srv := serve(t, fake)
	for _, c := range []struct {
		contentType, body string
		status            int
		location          string
	}{
		{"application/yaml", "name: a\ncolour: red", 422, "body.colour"},
		{"application/yaml", "name: a\nmemory: -1", 422, "body.memory"},
		{"application/yaml", "name: a\ndisks: [{volume: /etc/shadow, format: raw}]", 422, "body.disks[0].volume"},
		{"application/json", `{"name":"A"}`, 422, "body.name"},
		{"application/json", `{"name":"a","name":"b"}`, 422, "body.name"},
		{"application/json", `{"Name":"a"}`, 422, "body.Name"},
		{"", "{", 422, "body"},
		{"", "", 400, ""},
		{"application/yaml", strings.Repeat("#", spec.MaxVMDocument+1), 413, ""},
		{"application/x-www-form-urlencoded", "name: a", 415, ""},
		{"text/plain", "name: a", 415, ""},
	} {
		for _, query := range []string{"", "?start=true"} {
			got, p := post(t, srv.URL+"/v1/vms"+query, c.contentType, c.body)
			if got != c.status {
				t.Errorf("POST %s %.40q = %d %+v; want %d", query, c.body, got, p, c.status)
			}
			if c.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != c.location) {
				t.Errorf("POST %.40q: errors %+v; want location %s", c.body, p.Errors, c.location)
			}
		}
	}
	if got, p := post(t, srv.URL+"/v1/vms?strat=true", "application/yaml", "name: a"); got != 422 {
		t.Errorf("POST ?strat=true = %d %+v; want 422", got, p)
	}
	if vms, _ := fake.List(t.Context()); len(vms) != 0 {
		t.Errorf("bad documents made %+v", vms)
	}
	for _, contentType := range []string{"", "application/yaml; charset=utf-8", "text/yaml"} {
		if got, p := post(t, srv.URL+"/v1/vms", contentType, "name: ok"+string(rune('a'+len(contentType)%26))); got != 201 {
			t.Errorf("POST good document as %q = %d %+v; want 201", contentType, got, p)
		}
	}
}

func TestCreateAndStartIsAllOrNothing(t *testing.T) {
	fake := &apitest.Fake{StartError: &api.Error{Status: 422, Detail: "disks[0].volume: no such file"}}
	c := client(serve(t, fake), api.Operator)
	_, err := c.CreateAndStart(t.Context(), spec.VM{Name: "a"})
	if status(err) != 422 || err.Error() != "disks[0].volume: no such file" {
		t.Errorf("CreateAndStart = %v; want the start's refusal", err)
	}
	if vms, _ := fake.List(t.Context()); len(vms) != 0 {
		t.Errorf("a VM that did not start is still there: %+v", vms)
	}
	fake.StartError = nil
	if vm, err := c.CreateAndStart(t.Context(), spec.VM{Name: "a"}); err != nil || vm.Status.State != api.Running {
		t.Errorf("CreateAndStart = %+v, %v; want it running", vm, err)
	}
}

func TestVolumes(t *testing.T) {
	srv := serve(t, &apitest.Fake{})
	c := client(srv, api.Operator)
	got, err := c.CreateVolume(t.Context(), api.VolumeRequest{Volume: "nfs://filer/e/d/a.raw", Size: 10 << 30})
	want := api.Volume{Volume: "nfs://filer/e/d/a.raw", Size: 10 << 30, Format: "raw"}
	if err != nil || got != want {
		t.Errorf("CreateVolume = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []struct{ body, location string }{
		{`{"volume":"local/a.raw","size":"1GiB"}`, "body.volume"},
		{`{"volume":"nfs://f/e/a","size":"1KiB"}`, "body.size"},
		{`{"volume":"nfs://f/e/a"}`, "body.size"},
		{`{"volume":"nfs://f/e/a","size":1048577}`, "body.size"},
		{`{"volume":"nfs://f/e/a","size":"1GiB","format":"vmdk"}`, "body.format"},
		{`{"volume":"nfs://f/e/a.raw","size":"1GiB","format":"qcow2"}`, "body.format"},
		{`{"volume":"nfs://f/e/a","size":"1GiB","colour":"red"}`, "body.colour"},
	} {
		if got, p := post(t, srv.URL+"/v1/volumes", "application/json", bad.body); got != 422 || p.Errors[0].Location != bad.location {
			t.Errorf("POST /v1/volumes %s = %d %+v; want 422 at %s", bad.body, got, p, bad.location)
		}
	}
}

func TestProblems(t *testing.T) {
	srv := serve(t, &apitest.Fake{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 404},
		{"GET", "/v2/vms", 404},
		{"GET", "/v1/vms/none", 404},
		{"GET", "/v1/vms/UPPER", 422},
		{"GET", "/v1/vms/" + strings.Repeat("a", 64), 422},
		{"GET", "/v1/vms?name=a", 422},
		{"PUT", "/v1/vms", 405},
		{"GET", "/v1/vms/a/start", 405},
		{"POST", "/v1/vms/none/start", 404},
		{"GET", "/v1/vms/none/console", 404},
		{"POST", "/v1/node/selfdestruct", 404},
		{"GET", "/v1/node/logs?follow=perhaps", 422},
	} {
		req, err := http.NewRequest(c.method, srv.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, p := roundTrip(t, req); got != c.status {
			t.Errorf("%s %s = %d %+v; want %d", c.method, c.path, got, p, c.status)
		}
	}
}

// faulty fails in ways of its own.
type faulty struct{ apitest.Fake }

func (*faulty) Capabilities(context.Context) (api.Capabilities, error) { panic("secret detail") }
func (*faulty) List(context.Context) ([]api.VM, error) {
	return nil, errors.New("read /run/x: input/output error")
}
func (*faulty) Get(context.Context, string) (api.VM, error) {
	return api.VM{}, context.DeadlineExceeded
}
func (*faulty) Logs(_ context.Context, w io.Writer, follow bool) error {
	if follow {
		_, _ = io.WriteString(w, "half")
	}
	return errors.New("log file is gone")
}

func TestFaults(t *testing.T) {
	c := client(serve(t, &faulty{}), api.Viewer)
	_, err := c.Capabilities(t.Context())
	if status(err) != 500 || strings.Contains(err.Error(), "secret") {
		t.Errorf("Capabilities that panics = %v; want 500 without details", err)
	}
	if _, err := c.List(t.Context()); status(err) != 500 || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("List that fails = %v; want 500 with the cause", err)
	}
	if _, err := c.Get(t.Context(), "a"); status(err) != 504 {
		t.Errorf("Get that takes too long = %v; want 504", err)
	}
	var out strings.Builder
	if err := c.Logs(t.Context(), &out, false); status(err) != 500 {
		t.Errorf("Logs that fail at once = %v; want 500", err)
	}
	if err := c.Logs(t.Context(), &out, true); err == nil {
		t.Error("Logs that break off = nil error")
	}
}

// The deadline is one for the body, and not for what follows.
func TestBodyDeadline(t *testing.T) {
	defer api.SetBodyTimeout(100 * time.Millisecond)()
	srv := serve(t, &apitest.Fake{Delay: 300 * time.Millisecond})
	c := client(srv, api.Operator)
	if _, err := c.Create(t.Context(), spec.VM{Name: "a"}); err != nil {
		t.Errorf("Create that takes longer than a body may: %v", err)
	}
	r, w := io.Pipe()
	defer w.Close()
	req, _ := http.NewRequest(http.MethodPost, srv.URL+"/v1/vms", r)
	if got, p := roundTrip(t, req); got != http.StatusRequestTimeout {
		t.Errorf("a body that never comes = %d %+v; want 408", got, p)
	}
}

// What was begun is finished though the client goes away.
func TestClientMayLeave(t *testing.T) {
	fake := &apitest.Fake{Delay: 200 * time.Millisecond}
	c := client(serve(t, fake), api.Operator)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Create(ctx, spec.VM{Name: "a"}); err == nil {
		t.Fatal("Create did not notice the client's own deadline")
	}
	for range 50 {
		if _, err := fake.Get(t.Context(), "a"); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the VM was not made after the client left")
}
