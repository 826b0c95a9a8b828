package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"

	"github.com/google/go-cmp/cmp"
)

// openAPI is as much of the document as the tests look at.
type openAPI struct {
	Paths map[string]map[string]struct {
		OperationID, Summary, Description string
	}
	Components struct {
		Schemas map[string]struct {
			Properties map[string]struct {
				Description string
				Type        any
			}
		}
	}
}

func document(t *testing.T) openAPI {
	t.Helper()
	srv := serve(t, &apitest.Fake{})
	resp, err := (&http.Client{Transport: as{api.Viewer}}).Get(srv.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc openAPI
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || resp.StatusCode != 200 {
		t.Fatalf("GET /openapi.json = %s, %v", resp.Status, err)
	}
	return doc
}

func TestEveryOperationHasARoleAndADescription(t *testing.T) {
	doc := document(t)
	var ids []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			ids = append(ids, op.OperationID)
			if op.Summary == "" || op.Description == "" {
				t.Errorf("%s %s (%s) has no summary or description", method, path, op.OperationID)
			}
		}
	}
	slices.Sort(ids)
	if diff := cmp.Diff(api.Operations(), ids); diff != "" {
		t.Errorf("operations with a role and registered ones (-roles +registered):\n%s", diff)
	}
}

func TestEveryFieldHasADescription(t *testing.T) {
	for name, schema := range document(t).Components.Schemas {
		for field, property := range schema.Properties {
			if property.Description == "" {
				t.Errorf("schema %s: field %s has no description", name, field)
			}
		}
	}
}

// The whole table: who may do what. Paths are those of a node without VMs, so
// that what is allowed gives anything but 403.
func TestRoles(t *testing.T) {
	table := []struct {
		method, path string
		least        api.Role
	}{
		{"GET", "/openapi.json", api.Viewer},
		{"GET", "/v1/capabilities", api.Viewer},
		{"GET", "/v1/vms", api.Viewer},
		{"GET", "/v1/vms/a", api.Viewer},
		{"GET", "/v1/node/logs", api.Viewer},
		{"GET", "/no/such/path", api.Viewer},
		{"POST", "/v1/vms", api.Operator},
		{"DELETE", "/v1/vms/a", api.Operator},
		{"POST", "/v1/vms/a/start", api.Operator},
		{"POST", "/v1/vms/a/shutdown", api.Operator},
		{"POST", "/v1/vms/a/stop", api.Operator},
		{"POST", "/v1/vms/a/reset", api.Operator},
		{"POST", "/v1/vms/a/pause", api.Operator},
		{"POST", "/v1/vms/a/resume", api.Operator},
		{"GET", "/v1/vms/a/console", api.Operator},
		{"POST", "/v1/volumes", api.Operator},
		{"GET", "/v1/node/inspect", api.Admin},
		{"GET", "/v1/node/access?source=a&target=b&class=file", api.Admin},
		{"POST", "/v1/vms/a/probe", api.Admin},
		{"POST", "/v1/node/poweroff", api.Admin},
		{"POST", "/v1/node/reboot", api.Admin},
	}
	rank := []api.Role{"", "root", "Admin", api.Viewer, api.Operator, api.Admin}
	fake := &apitest.Fake{}
	srv := serve(t, fake)
	for _, row := range table {
		for i, role := range rank {
			allowed := i >= slices.Index(rank, row.least)
			req, _ := http.NewRequest(row.method, srv.URL+row.path, nil)
			resp, err := as{role}.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode != http.StatusForbidden; got != allowed {
				t.Errorf("%s %s as %q = %d; want allowed %v", row.method, row.path, role, resp.StatusCode, allowed)
			}
		}
	}
	if got := fake.Powered(); len(got) != 2 {
		t.Errorf("power actions %v; want the two of admin", got)
	}
}

func TestTwoRolesAreNone(t *testing.T) {
	for _, values := range [][]string{{"viewer", "admin"}, {"viewer, admin"}, {"admin "}} {
		req := httptest.NewRequest(http.MethodGet, "/v1/vms", nil)
		req.Header[http.CanonicalHeaderKey(api.HeaderRole)] = values
		w := httptest.NewRecorder()
		api.NewServer(&apitest.Fake{}).ServeHTTP(w, req)
		if w.Code != http.StatusForbidden {
			t.Errorf("roles %q = %d; want 403", values, w.Code)
		}
	}
}

func FuzzParseRole(f *testing.F) {
	f.Add("admin")
	f.Add("")
	f.Fuzz(func(t *testing.T, name string) {
		role, ok := api.ParseRole(name)
		if ok != (name == "viewer" || name == "operator" || name == "admin") || ok && string(role) != name {
			t.Errorf("ParseRole(%q) = %q, %v", name, role, ok)
		}
		if !ok && (role.May(api.Viewer) || api.Role(name).May(api.Viewer) || api.Admin.May(api.Role(name))) {
			t.Errorf("unknown role %q may something", name)
		}
	})
}

// The API must not fail on any document, whatever it does with it.
func FuzzCreate(f *testing.F) {
	f.Add([]byte("name: a"), "application/yaml")
	f.Add([]byte(`{"name":"a"}`), "application/json; charset=utf-8")
	h := api.NewServer(&apitest.Fake{})
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		req := httptest.NewRequest(http.MethodPost, "/v1/vms", strings.NewReader(string(body)))
		req.Header.Set("Content-Type", contentType)
		req.Header.Set(api.HeaderRole, "operator")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code >= 500 {
			answer, _ := io.ReadAll(w.Body)
			t.Errorf("POST %q as %q = %d %s", body, contentType, w.Code, answer)
		}
	})
}
