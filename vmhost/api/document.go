package api

import (
	"context"
	"fmt"
	"mime"
	"net/http"

	"casemate/vmhost/spec"

	"github.com/danielgtaylor/huma/v2"
)

// MinVolumeSize and MaxVolumeSize bound a new volume.
const (
	MinVolumeSize = spec.Size(1 << 20)
	MaxVolumeSize = spec.Size(64 << 40)
)

// document is the input of operations that take a spec document. Spec's own
// parser reads it, so that a document means the same to the tool and the node.
type document struct {
	RawBody []byte `contentType:"application/yaml"`
}

// documentTypes are the content types taken. A missing one is JSON or YAML,
// too. Those that a web page's form can send are not among them.
var documentTypes = []string{"application/json", "application/yaml", "application/x-yaml", "text/yaml"}

// Resolve checks the content type, when huma has read the body.
func (document) Resolve(ctx huma.Context) []error {
	given := ctx.Header("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if given == "" {
		return nil
	}
	for _, t := range documentTypes {
		if err == nil && kind == t {
			return nil
		}
	}
	return []error{huma.NewError(http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q: send application/yaml or application/json", given))}
}

// registerDocument registers an operation whose body is a T of at most limit
// bytes, read by the handler.
func registerDocument[T, I, O any](a huma.API, op huma.Operation, limit int64, handler func(context.Context, *I) (*O, error)) {
	schema := a.OpenAPI().Components.Schemas.Schema(typeOf[T](), true, "")
	op.SkipValidateBody = true
	op.MaxBodyBytes = limit + 1 // huma refuses what reaches its limit
	op.BodyReadTimeout = bodyTimeout
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	op.Errors = []int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
	huma.Register(a, op, handler)
	for _, t := range documentTypes[:2] {
		op.RequestBody.Content[t] = &huma.MediaType{Schema: schema}
	}
}

func parseVolumeRequest(data []byte) (VolumeRequest, error) {
	var req VolumeRequest
	if err := spec.Unmarshal(data, spec.MaxVMDocument, &req); err != nil {
		return req, err
	}
	req.SetDefaults()
	return req, req.Validate()
}

// SetDefaults fills in the format: by the file's suffix, or qcow2.
func (r *VolumeRequest) SetDefaults() {
	if r.Format == "" {
		r.Format = spec.FormatOf(r.Volume)
	}
	if r.Format == "" {
		r.Format = spec.FormatQcow2
	}
}

// Validate checks a request after SetDefaults; the error is a spec.Problems.
func (r VolumeRequest) Validate() error {
	var p spec.Problems
	v, err := spec.ParseVolume(r.Volume)
	if err != nil {
		p = append(p, spec.Problem{Path: "volume", Message: err.Error()})
	} else if !v.IsNFS() {
		p = append(p, spec.Problem{Path: "volume", Message: fmt.Sprintf("%s: a new volume is made on NFS: want nfs://host[:port]/export/dir/file", r.Volume)})
	}
	if suffix := spec.FormatOf(r.Volume); suffix != "" && suffix != r.Format && r.Format != "" {
		p = append(p, spec.Problem{Path: "format", Message: fmt.Sprintf("%s, but the file's suffix says %s", r.Format, suffix)})
	}
	if r.Format != spec.FormatQcow2 && r.Format != spec.FormatRaw {
		p = append(p, spec.Problem{Path: "format", Message: fmt.Sprintf("%q is not one of qcow2, raw", r.Format)})
	}
	if r.Size < MinVolumeSize || r.Size > MaxVolumeSize {
		p = append(p, spec.Problem{Path: "size", Message: fmt.Sprintf("%s is not between %s and %s", r.Size, MinVolumeSize, MaxVolumeSize)})
	} else if r.Size%512 != 0 {
		p = append(p, spec.Problem{Path: "size", Message: fmt.Sprintf("%s is not a whole number of 512-byte sectors", r.Size)})
	}
	if len(p) > 0 {
		return p
	}
	return nil
}
