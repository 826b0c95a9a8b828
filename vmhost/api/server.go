package api

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Bounds on what one caller can hold: a request's headers, the time to send
// them and the body, and the time for an operation.
const (
	headerTimeout    = 10 * time.Second
	idleTimeout      = 2 * time.Minute
	operationTimeout = 3 * time.Minute // a slow NFS server, a large cold QEMU
	maxHeaderBytes   = 32 << 10
)

var bodyTimeout = 10 * time.Second // a test shortens it

// Serve gives an HTTP server with the bounds that NewServer's handler needs
// around it. It is for the socket that only the gateway can reach.
func Serve(m Manager) *http.Server {
	return &http.Server{
		Handler:           NewServer(m),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}

// NewServer gives the API over m. It trusts HeaderUser and HeaderRole: the
// caller has to see to it that only the gateway can set them.
func NewServer(m Manager) http.Handler {
	mux := http.NewServeMux()
	config := newConfig()
	humaAPI := humago.New(mux, config)
	humaAPI.UseMiddleware(requireRole(humaAPI), deadline)
	register(humaAPI, m)

	document, err := describe(humaAPI.OpenAPI())
	if err != nil {
		panic(err) // the document is made of constants: a test sees this
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	})
	mux.HandleFunc("/", noSuchEndpoint(mux))
	return recovered(someRole(mux))
}

// describe renders the OpenAPI document once: huma would do so on the first
// request, and race with the second.
func describe(doc *huma.OpenAPI) ([]byte, error) {
	fillDescriptions(doc)
	return json.Marshal(doc)
}

// someRole lets nobody without a role see anything, not even what there is.
func someRole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if roles := r.Header.Values(HeaderRole); len(roles) != 1 || !Role(roles[0]).May(Viewer) {
			WriteProblem(w, http.StatusForbidden, "the caller has no role; known ones are viewer, operator and admin")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireRole is the one place where roles decide.
func requireRole(a huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id := ctx.Operation().OperationID
		need, known := roleOf[id]
		have := Role(ctx.Header(HeaderRole))
		if !known || !have.May(need) {
			_ = huma.WriteErr(a, ctx, http.StatusForbidden, string(have)+" may not "+id+"; it needs the role "+string(need))
			return
		}
		next(ctx)
	}
}

// deadline bounds the time in which the answer must be written. It is set for
// each request, since a connection keeps the last one; streams have none.
func deadline(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	var end time.Time
	if !streams[ctx.Operation().OperationID] {
		end = time.Now().Add(operationTimeout + bodyTimeout)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(end) // a test's recorder has none
	next(ctx)
}

// noSuchEndpoint answers what no pattern matches with a problem document, and
// tells a wrong method from a wrong path.
func noSuchEndpoint(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			probe := &http.Request{Method: method, Host: r.Host, URL: r.URL}
			if _, pattern := mux.Handler(probe); strings.HasPrefix(pattern, method+" ") {
				allowed = append(allowed, method)
			}
		}
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			WriteProblem(w, http.StatusMethodNotAllowed, r.Method+" is not possible here; "+strings.Join(allowed, ", ")+" is")
			return
		}
		WriteProblem(w, http.StatusNotFound, "no such endpoint; /openapi.json lists them")
	}
}

// recovered keeps one request's panic from the others, and its details in the log.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked := &trackedWriter{ResponseWriter: w}
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			err, _ := fault.(error)
			// huma panics when a client is gone before its answer.
			gone := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || r.Context().Err() != nil
			if !errors.Is(err, http.ErrAbortHandler) && !gone {
				log.Printf("api: panic in %s %s: %v\n%s", r.Method, r.URL.Path, fault, debug.Stack())
			}
			if tracked.started {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			WriteProblem(w, http.StatusInternalServerError, "the node failed to answer; its log has more")
		}()
		next.ServeHTTP(tracked, r)
	})
}

// trackedWriter remembers whether an answer has begun.
type trackedWriter struct {
	http.ResponseWriter
	started bool
}

func (t *trackedWriter) WriteHeader(status int) {
	t.started = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackedWriter) Write(b []byte) (int, error) {
	t.started = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush, hijack and set deadlines.
func (t *trackedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }
