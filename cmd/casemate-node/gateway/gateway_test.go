package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/cmd/casemate/pki"
	"casemate/vmhost/api"
	"casemate/vmhost/api/apitest"
	"casemate/vmhost/spec"
)

// node is a gateway over real TLS on loopback, with an API behind it.
type node struct {
	url  string
	ca   *pki.Authority
	stop func() error
}

// start runs a gateway before backend; authority says whether it has a CA.
func start(t *testing.T, backend http.Handler, authority bool) node {
	t.Helper()
	ca, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Node(time.Now(), "node-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"tls.crt": server.Certificate, "tls.key": server.Key, "ca.crt": nil}
	if authority {
		files["ca.crt"] = ca.Certificate
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: backend}
	go func() { _ = srv.Serve(l) }()

	ctx, cancel := context.WithCancel(context.Background())
	addr, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Dir: dir, Socket: socket, Listen: "127.0.0.1:0"}, func(a net.Addr) error { addr <- a; return nil })
	}()
	n := node{ca: ca, stop: func() error { cancel(); return <-done }}
	t.Cleanup(func() { cancel(); _ = srv.Close() })
	select {
	case a := <-addr:
		n.url = "https://" + a.String()
	case err := <-done:
		t.Fatalf("gateway did not start: %v", err)
	}
	return n
}

// client gives an HTTP client with the certificate of pair, if not empty.
func (n node) client(t *testing.T, pair pki.Pair) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.ca.Certificate)
	config := &tls.Config{RootCAs: roots, ServerName: "node-1"}
	if pair.Certificate != nil {
		cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		// Certificates would leave out one that the server's list does not name.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (n node) issue(t *testing.T, ca *pki.Authority, now time.Time, role api.Role) pki.Pair {
	t.Helper()
	pair, err := ca.Client(now, "tester", role)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestStrangersAreRefused(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), true)
	foreign, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := n.ca.Node(time.Now(), "node-2", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who  string
		pair pki.Pair
		want string // in the error; "" passes
	}{
		{"nobody", pki.Pair{}, "certificate required"},
		{"foreign authority", n.issue(t, foreign, time.Now(), api.Admin), "unknown certificate authority"},
		{"expired", n.issue(t, n.ca, time.Now().AddDate(-3, 0, 0), api.Admin), "expired certificate"},
		{"not yet valid", n.issue(t, n.ca, time.Now().Add(2*time.Hour), api.Admin), "expired certificate"},
		{"a node", server, "bad certificate"},
		{"viewer", n.issue(t, n.ca, time.Now(), api.Viewer), ""},
	} {
		hc := n.client(t, c.pair)
		// HTTP/2 would hide the server's alert, which comes after the handshake.
		hc.Transport.(*http.Transport).ForceAttemptHTTP2 = false
		resp, err := hc.Get(n.url + "/v1/vms")
		if err == nil {
			resp.Body.Close()
		}
		switch {
		case c.want == "" && (err != nil || resp.StatusCode != http.StatusOK):
			t.Errorf("%s: %v, %v; want 200", c.who, resp, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v; want %q", c.who, err, c.want)
		}
	}
}

func TestNoAuthorityLetsNobodyIn(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), false)
	for who, pair := range map[string]pki.Pair{"nobody": {}, "admin": n.issue(t, n.ca, time.Now(), api.Admin)} {
		if resp, err := n.client(t, pair).Get(n.url + "/v1/vms"); err == nil {
			resp.Body.Close()
			t.Errorf("%s got %s from a node without a client authority; want none in", who, resp.Status)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), true)
	hc := n.client(t, n.issue(t, n.ca, time.Now(), api.Admin))
	hc.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if resp, err := hc.Get(n.url); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v, %v; want a refusal", resp, err)
	}
}

func TestRolesThroughTheDoor(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), true)
	as := func(role api.Role) *api.Client {
		return api.NewClient(n.url, n.client(t, n.issue(t, n.ca, time.Now(), role)))
	}
	ctx := t.Context()
	if _, err := as(api.Operator).Create(ctx, spec.VM{Name: "a"}); err != nil {
		t.Fatalf("operator creates: %v", err)
	}
	wantStatus(t, "viewer starts", func() error { _, err := as(api.Viewer).Start(ctx, "a"); return err }(), http.StatusForbidden)
	if _, err := as(api.Operator).Start(ctx, "a"); err != nil {
		t.Errorf("operator starts: %v", err)
	}
	wantStatus(t, "operator powers off", as(api.Operator).Power(ctx, api.PowerOff), http.StatusForbidden)
	if err := as(api.Admin).Power(ctx, api.PowerOff); err != nil {
		t.Errorf("admin powers off: %v", err)
	}
	conn, err := as(api.Operator).Console(ctx, "a")
	if err != nil {
		t.Fatalf("operator's console: %v", err)
	}
	defer conn.Close()
	buf := make([]byte, len("welcome to a"))
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "welcome to a" {
		t.Errorf("console says %q, %v; want welcome to a", buf, err)
	}
	_, err = as(api.Viewer).Console(ctx, "a")
	wantStatus(t, "viewer's console", err, http.StatusForbidden)
}

func wantStatus(t *testing.T, what string, err error, want int) {
	t.Helper()
	if p, ok := err.(*api.Problem); !ok || p.Status != want {
		t.Errorf("%s: %v; want status %d", what, err, want)
	}
}

func TestSpoofedHeadersAreStripped(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = json.NewEncoder(w).Encode(map[string]any{"header": r.Header, "trailer": r.Trailer})
	})
	n := start(t, backend, true)
	hc := n.client(t, n.issue(t, n.ca, time.Now(), api.Viewer))
	for _, h1 := range []bool{false, true} {
		req, _ := http.NewRequest(http.MethodPost, n.url+"/x", strings.NewReader("body"))
		req.Header = http.Header{
			"X-Casemate-Role":    {"admin"},
			"X-Casemate-User":    {"root", "root2"},
			"x-casemate-role":    {"admin"},
			"X-CASEMATE-Other":   {"x"},
			"X-Forwarded-For":    {"10.0.0.1"},
			"X-Something-Else":   {"kept"},
			"Trailer":            {"X-Casemate-Role"},
			"X-Casemate-Role-Is": {"admin"},
		}
		if h1 { // in HTTP/1 Connection names headers that a proxy drops
			req.Header["Connection"] = []string{"X-Casemate-Role, X-Casemate-User"}
			transport := hc.Transport.(*http.Transport).Clone()
			transport.ForceAttemptHTTP2, transport.Protocols = false, new(http.Protocols)
			transport.Protocols.SetHTTP1(true)
			transport.TLSClientConfig.NextProtos = nil
			hc = &http.Client{Transport: transport}
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Header, Trailer http.Header }
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for name, values := range got.Header {
			if strings.HasPrefix(name, "X-Casemate-") && name != api.HeaderRole && name != api.HeaderUser {
				t.Errorf("HTTP/1 %v: %s: %q came through", h1, name, values)
			}
		}
		if v := got.Header[api.HeaderRole]; len(v) != 1 || v[0] != "viewer" {
			t.Errorf("HTTP/1 %v: role %q; want viewer", h1, v)
		}
		if v := got.Header[api.HeaderUser]; len(v) != 1 || v[0] != "tester" {
			t.Errorf("HTTP/1 %v: user %q; want tester", h1, v)
		}
		if len(got.Trailer) != 0 || got.Header.Get("X-Forwarded-For") != "" || got.Header.Get("X-Something-Else") != "kept" {
			t.Errorf("HTTP/1 %v: trailer %v, header %v", h1, got.Trailer, got.Header)
		}
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), true)
	hc := n.client(t, n.issue(t, n.ca, time.Now(), api.Admin))
	req, _ := http.NewRequest(http.MethodPost, n.url+"/v1/node/poweroff", nil)
	req.Header.Set("Origin", "https://evil.example")
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("POST from a foreign page = %s; want 403", resp.Status)
	}
}

func TestBodyBound(t *testing.T) {
	n := start(t, api.NewServer(&apitest.Fake{}), true)
	hc := n.client(t, n.issue(t, n.ca, time.Now(), api.Operator))
	resp, err := hc.Post(n.url+"/v1/vms", "application/yaml", strings.NewReader(strings.Repeat("#", maxBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("POST of %d bytes = %s; want 413", maxBody+1, resp.Status)
	}
}

// The deadline is one for the body and not for the answer.
func TestBodyDeadline(t *testing.T) {
	defer func(old time.Duration) { bodyTimeout = old }(bodyTimeout)
	bodyTimeout = 100 * time.Millisecond
	n := start(t, api.NewServer(&apitest.Fake{Delay: 400 * time.Millisecond}), true)
	hc := n.client(t, n.issue(t, n.ca, time.Now(), api.Operator))
	h1 := n.client(t, n.issue(t, n.ca, time.Now(), api.Operator))
	h1.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	for name, hc := range map[string]*http.Client{"h1": h1, "h2": hc} {
		if _, err := api.NewClient(n.url, hc).Create(t.Context(), spec.VM{Name: name}); err != nil {
			t.Errorf("%s: an answer later than the deadline for the body: %v", name, err)
		}
		r, w := io.Pipe()
		defer w.Close()
		resp, err := hc.Post(n.url+"/v1/vms", "application/yaml", r)
		if err != nil {
			t.Errorf("%s: a body that never comes: %v; want 408", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s: a body that never comes = %s; want 408", name, resp.Status)
		}
	}
}

func TestBackendDown(t *testing.T) {
	dead := newProxy(filepath.Join(t.TempDir(), "none.sock"), io.Discard)
	req, _ := http.NewRequest(http.MethodGet, "https://node/v1/vms", nil)
	req = req.WithContext(context.WithValue(req.Context(), identityKey{}, identity{"a", api.Viewer}))
	w := &recorder{header: http.Header{}}
	dead.ServeHTTP(w, req)
	if w.status != http.StatusBadGateway || !strings.Contains(w.String(), "vmhostd does not answer") {
		t.Errorf("without vmhostd: %d %s; want 502", w.status, w.String())
	}
}

func TestLogsStreamAndGracefulEnd(t *testing.T) {
	fake := &apitest.Fake{Log: "one\n", Tail: make(chan string)}
	n := start(t, api.NewServer(fake), true)
	c := api.NewClient(n.url, n.client(t, n.issue(t, n.ca, time.Now(), api.Viewer)))
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.Logs(t.Context(), w, true)) }()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "one\n" {
		t.Fatalf("first line %q, %v", buf, err)
	}
	fake.Tail <- "two\n" // must not wait for a full buffer
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "two\n" {
		t.Fatalf("second line %q, %v", buf, err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	begin := time.Now()
	if err := n.stop(); err != nil {
		t.Errorf("Run = %v; want nil after its context ends", err)
	}
	if took := time.Since(begin); took > shutdownTimeout+2*time.Second {
		t.Errorf("shutdown with a follower took %v", took)
	}
}
