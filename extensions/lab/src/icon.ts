import { LabIcon } from "@jupyterlab/ui-components";

/** A chip with its pins. */
const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">
<g class="jp-icon3 jp-icon-selectable" fill="#616161">
<path d="M4.5 3h7A1.5 1.5 0 0 1 13 4.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 3 11.5v-7A1.5 1.5 0 0 1 4.5 3zm0 1.3a.2.2 0 0 0-.2.2v7c0 .11.09.2.2.2h7a.2.2 0 0 0 .2-.2v-7a.2.2 0 0 0-.2-.2z"/>
<path d="M6 6h4v4H6z"/>
<path d="M5.3 0.8h1.2V3H5.3zM9.5 0.8h1.2V3H9.5zM5.3 13h1.2v2.2H5.3zM9.5 13h1.2v2.2H9.5zM.8 5.3H3v1.2H.8zM.8 9.5H3v1.2H.8zM13 5.3h2.2v1.2H13zM13 9.5h2.2v1.2H13z"/>
</g></svg>`;

export const subletIcon = new LabIcon({ name: "@sublet/lab:chip", svgstr });

/** Layers, one on the other. */
const layers = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">
<g class="jp-icon3 jp-icon-selectable" fill="#616161">
<path d="M8 1 15 4.8 8 8.6 1 4.8z"/>
<path d="M2.9 7 8 9.8 13.1 7 15 8 8 11.8 1 8z"/>
<path d="M2.9 10.2 8 13l5.1-2.8 1.9 1L8 15l-7-3.8z"/>
</g></svg>`;

export const modelsIcon = new LabIcon({ name: "@sublet/lab:models", svgstr: layers });
