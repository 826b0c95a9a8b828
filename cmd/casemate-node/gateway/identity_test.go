package gateway

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/api"
)

// recorder is a ResponseWriter without net/http/httptest's special cases.
type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }

var clientAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

func TestIdentity(t *testing.T) {
	now := time.Now()
	cert := func(cn string, usage []x509.ExtKeyUsage, units ...string) *x509.Certificate {
		return &x509.Certificate{NotAfter: now.Add(time.Hour), ExtKeyUsage: usage,
			Subject: pkix.Name{CommonName: cn, OrganizationalUnit: units}}
	}
	expired := cert("a", clientAuth, "admin")
	expired.NotAfter = now.Add(-time.Second)
	for _, c := range []struct {
		cert *x509.Certificate
		want string // in the error, "" for none
	}{
		{cert("a", clientAuth, "viewer"), ""},
		{cert("John Doe", clientAuth, "admin"), ""},
		{expired, "expired"},
		{cert("a", nil, "admin"), "clientAuth"},
		{cert("a", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, "admin"), "clientAuth"},
		{cert("a", []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, "admin"), "clientAuth"},
		{cert("", clientAuth, "admin"), "common name"},
		{cert("a\r\nX-Casemate-Role: admin", clientAuth, "viewer"), "common name"},
		{cert(strings.Repeat("a", 65), clientAuth, "admin"), "common name"},
		{cert("a", clientAuth), "0 organizational units"},
		{cert("a", clientAuth, "viewer", "admin"), "2 organizational units"},
		{cert("a", clientAuth, "Admin"), `"Admin" is no role`},
		{cert("a", clientAuth, ""), `"" is no role`},
	} {
		who, err := identityOf(c.cert, now)
		switch {
		case c.want == "" && (err != nil || who.user != c.cert.Subject.CommonName || string(who.role) != c.cert.Subject.OrganizationalUnit[0]):
			t.Errorf("identityOf(%s) = %+v, %v", c.cert.Subject, who, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("identityOf(%q) = %+v, %v; want error %q", c.cert.Subject, who, err, c.want)
		}
	}
	if _, err := identify(nil, now); err == nil {
		t.Error("identify(no TLS) = nil error")
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("a", "admin")
	f.Fuzz(func(t *testing.T, cn, unit string) {
		cert := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: clientAuth,
			Subject: pkix.Name{CommonName: cn, OrganizationalUnit: []string{unit}}}
		who, err := identityOf(cert, time.Now())
		if err != nil {
			return
		}
		if !who.role.May(api.Viewer) || strings.ContainsAny(who.user, "\r\n\x00") || who.user == "" {
			t.Errorf("identityOf(CN %q, OU %q) = %+v", cn, unit, who)
		}
	})
}

func TestAudit(t *testing.T) {
	var out bytes.Buffer
	old, flags := log.Writer(), log.Flags()
	log.SetOutput(&out)
	log.SetFlags(0)
	defer func() { log.SetOutput(old); log.SetFlags(flags) }()
	for _, c := range []struct{ method, target, upgrade, user, want string }{
		{"POST", "/v1/vms", "", "eve", "user=eve role=operator POST /v1/vms 201\n"},
		{"DELETE", "/v1/vms/a%0Ab", "", "John Doe", "user=\"John Doe\" role=operator DELETE /v1/vms/a%0Ab 201\n"},
		{"GET", "/v1/vms", "", "eve", ""},
		{"GET", "/v1/vms/a/console", "websocket", "eve", "user=eve role=operator GET /v1/vms/a/console 201\n"},
	} {
		out.Reset()
		r, err := http.NewRequest(c.method, "https://n"+c.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.upgrade != "" {
			r.Header.Set("Upgrade", c.upgrade)
		}
		var refused bytes.Buffer
		audit(&refused, r, identity{c.user, api.Operator}, 201)
		if out.String() != c.want || refused.Len() != 0 {
			t.Errorf("audit(%s %s) wrote %q; want %q", c.method, c.target, out.String(), c.want)
		}
		// What was refused is for the limited log, and no line is endless.
		r.URL.Path, r.URL.RawPath = "/"+strings.Repeat("x", 9000), ""
		out.Reset()
		audit(&refused, r, identity{c.user, api.Operator}, 403)
		if out.Len() != 0 || refused.Len() > 400 || (refused.Len() == 0) != (c.want == "") {
			t.Errorf("audit of a refused %s: %d bytes in the log, %d in the limited one", c.method, out.Len(), refused.Len())
		}
	}
}

func TestCounter(t *testing.T) {
	c := &counter{max: 2, of: map[string]int{}}
	for i, want := range []struct {
		user string
		ok   bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}} {
		if got := c.take(want.user); got != want.ok {
			t.Errorf("take %d, of %s = %v; want %v", i, want.user, got, want.ok)
		}
	}
	c.give("a")
	if !c.take("a") {
		t.Error("take after give: want one more")
	}
	c.give("b")
	if _, ok := c.of["b"]; ok {
		t.Error("a user who has nothing is still counted")
	}
}

func TestLimitedLog(t *testing.T) {
	var out bytes.Buffer
	l := newLimitedLog(log.New(&out, "", 0), time.Hour, 2)
	for i := range 5 {
		fmt.Fprintf(l, "line %d\nforged\x1b[2J\n", i)
	}
	l.last = l.last.Add(-time.Hour)
	fmt.Fprint(l, "later")
	want := "line 0?forged?[2J\nline 1?forged?[2J\n3 such lines left out\nlater\n"
	if out.String() != want {
		t.Errorf("log has %q; want %q", out.String(), want)
	}
}

func TestConnectionLimits(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l := limit(inner, 10, 2, &out)
	defer l.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	third := dial()
	_ = third.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := third.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("third connection: read %d, %v; want it closed", n, err)
	}
	first.Close()
	first.Close() // counts once
	dial()
	select {
	case <-accepted:
	case <-time.After(5 * time.Second):
		t.Error("no connection accepted after one was closed")
	}
}
