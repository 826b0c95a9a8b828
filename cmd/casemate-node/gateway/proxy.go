package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"casemate/vmhost/api"
)

var bodyTimeout = 30 * time.Second // a test shortens it

const (
	maxBody       = 128 << 10 // a VM document has at most half of it
	answerTimeout = 5 * time.Minute
	headerPrefix  = "X-Casemate-"
)

// newHandler passes requests of known clients to socket. What it refuses is
// reported to refused.
func newHandler(socket string, refused io.Writer) http.Handler {
	proxy := newProxy(socket, refused)
	crossOrigin := http.NewCrossOriginProtection()
	users := &counter{max: maxPerUser, of: map[string]int{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := identify(r.TLS, time.Now())
		if err == nil {
			// Pages of other sites, with a user's browser and its certificate.
			err = crossOrigin.Check(r)
		}
		if err != nil {
			fmt.Fprintf(refused, "refused %s: %v", r.RemoteAddr, err)
			api.WriteProblem(w, http.StatusForbidden, err.Error())
			return
		}
		if status, err := readBody(w, r); err != nil {
			audit(refused, r, who, status)
			api.WriteProblem(w, status, err.Error())
			return
		}
		// Each takes descriptors here and in vmhostd, also those that only read.
		if !users.take(who.user) {
			fmt.Fprintf(refused, "refused %s: user %q has %d requests under way", r.RemoteAddr, who.user, maxPerUser)
			api.WriteProblem(w, http.StatusTooManyRequests, "too many requests of this user at once")
			return
		}
		defer users.give(who.user)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, who)))
	})
}

type identityKey struct{}

func callerOf(r *http.Request) identity { return r.Context().Value(identityKey{}).(identity) }

func newProxy(socket string, refused io.Writer) *httputil.ReverseProxy {
	backend := &url.URL{Scheme: "http", Host: "vmhostd"}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
			DisableCompression:    true,
			IdleConnTimeout:       time.Minute,
			ResponseHeaderTimeout: answerTimeout,
		},
		// Rewrite sees the headers after those that Connection names are gone, so
		// that a client cannot have ours removed.
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(backend)
			p.Out.Host = p.In.Host // vmhostd compares it with a WebSocket's origin
			p.Out.Trailer = nil
			for name := range p.Out.Header {
				if strings.HasPrefix(strings.ToLower(name), strings.ToLower(headerPrefix)) {
					delete(p.Out.Header, name)
				}
			}
			who := callerOf(p.In)
			p.Out.Header.Set(api.HeaderUser, who.user)
			p.Out.Header.Set(api.HeaderRole, string(who.role))
		},
		FlushInterval: -1, // logs are read as they come
		ModifyResponse: func(answer *http.Response) error {
			audit(refused, answer.Request, callerOf(answer.Request), answer.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			audit(refused, r, callerOf(r), http.StatusBadGateway)
			if r.Context().Err() == nil {
				log.Printf("vmhostd: %v", err)
			}
			api.WriteProblem(w, http.StatusBadGateway, "vmhostd does not answer; the node restarts it, try again in a moment")
		},
		ErrorLog: log.New(io.Discard, "", 0), // clients that leave early
	}
}

// readBody takes the whole body, within a bound of size and time, so that a
// slow client holds nothing of vmhostd.
func readBody(w http.ResponseWriter, r *http.Request) (int, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return 0, nil
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, errors.New("the body did not come in time")
	case err != nil:
		return http.StatusBadRequest, errors.New("the body could not be read")
	}
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	return 0, nil
}

// audit notes who changed something or took a console, and what came of it. What
// was refused goes to refused, which is limited: it costs a client nothing, and
// must not push what happened out of the log.
func audit(refused io.Writer, r *http.Request, who identity, status int) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Upgrade") == "" {
		return
	}
	user := who.user
	if strings.ContainsAny(user, ` "=`) {
		user = strconv.Quote(user)
	}
	path := r.URL.EscapedPath()
	if len(path) > maxPathLogged {
		path = path[:maxPathLogged] + "..."
	}
	line := fmt.Sprintf("user=%s role=%s %s %s %d", user, who.role, r.Method, path, status)
	if status >= 400 && status < 500 {
		fmt.Fprint(refused, line)
		return
	}
	log.Print(line)
}
