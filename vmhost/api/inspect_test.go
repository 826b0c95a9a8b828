package api_test

import (
	"net/http"
	"testing"

	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"
	"casemate/vmhost/spec"
)

func TestInspection(t *testing.T) {
	srv := serve(t, &apitest.Fake{})
	c, ctx := client(srv, api.Admin), t.Context()
	for _, name := range []string{"a", "b"} {
		if _, err := c.CreateAndStart(ctx, spec.VM{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.Inspect(ctx); err != nil || len(got.Processes) != 2 || got.Processes[0].VM != "a" {
		t.Errorf("Inspect = %+v, %v; want the processes of a and b", got, err)
	}
	q := api.AccessQuery{Source: "u:r:t:s0:c1,c2", Target: "u:r:t:s0:c1,c2", Class: "file"}
	if got, err := c.Access(ctx, q); err != nil || got.AccessQuery != q || len(got.Allowed) == 0 {
		t.Errorf("Access(%+v) = %+v, %v", q, got, err)
	}
	for diskOf, want := range map[string]bool{"a": true, "b": false} {
		if got, err := c.Probe(ctx, "a", api.ProbeRequest{DiskOf: diskOf}); err != nil || got.Accepted != want {
			t.Errorf("Probe(a, disk of %s) = %+v, %v; want accepted %v", diskOf, got, err, want)
		}
	}
	if _, err := c.Probe(ctx, "a", api.ProbeRequest{DiskOf: "none"}); status(err) != http.StatusNotFound {
		t.Errorf("Probe with the disk of nobody = %v; want 404", err)
	}
	if got, p := post(t, srv.URL+"/v1/vms/a/probe", "application/json", `{"diskof":"b"}`); got != 422 {
		t.Errorf("probe with an unknown field = %d %+v; want 422", got, p)
	}
	if got, p := post(t, srv.URL+"/v1/vms/a/probe", "text/plain", `{"diskOf":"b"}`); got != 415 {
		t.Errorf("probe sent by a form = %d %+v; want 415", got, p)
	}
}
